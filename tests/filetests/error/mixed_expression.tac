; test: error
graph g {
  %x: f32[2] = input
  %y: f32[2] = pointwise(%x) {add($0, 1:i32)}
}
; expect:
line 4, column 16: found pointwise(f32[2]), expected operands and attributes that fit: add mixes f32 and i32
