; test: error
graph g {
  %c: f32[2,2] = const {1.0, 2.0, 3.0}
}
; expect:
line 3, column 24: found values of 12 bytes, expected 16 bytes for f32[2,2]
