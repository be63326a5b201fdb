; test: error
graph g {
  %x: f8e5m2[2] = input
  %y: f8e5m2[2] = pointwise(%x) {add($0, $0)}
}
; expect:
line 4, column 19: found pointwise(f8e5m2[2]), expected operands and attributes that fit: add does not apply to f8e5m2, a type that only stores numbers: convert it first
