; test: error
graph g {
  %x: f32[2] = input
  %y: f32[2] = pointwise(%z) {relu($0)}
}
; expect:
line 4, column 26: found `%z`, expected a value defined above
