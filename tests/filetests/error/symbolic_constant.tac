; test: error
graph g {
  %c: f32[N] = const fill 1.0
}
; expect:
line 3, column 7: found f32[N], expected a constant's sizes to be known
