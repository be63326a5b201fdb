; test: error
graph g {
  %x: f32[1,3,8,8] = input
  %w: f32[4,3,3,3] = const fill 0.5
  %y: f32[1,4,8,8] = conv(%x, %w)
}
; expect:
line 5, column 7: found type f32[1,4,8,8], expected the inferred type f32[1,4,6,6]
