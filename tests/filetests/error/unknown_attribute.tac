; test: error
graph g {
  %x: f32[2,2] = input
  %y: f32[2,2] = softmax(%x) axis=0 stride=[1]
}
; expect:
line 4, column 37: found `stride`, expected an attribute of this operation, or the next statement
