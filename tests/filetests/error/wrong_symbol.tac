; test: error
graph g {
  %x: f32[N,3] = input
  %y: f32[M,3] = softmax(%x) axis=1
}
; expect:
line 4, column 7: found type f32[M,3], expected the inferred type f32[N,3]
