; test: error
graph g {
  %x: f32[2] = input
  %y: f32[2] = rely(%x)
}
; expect:
line 4, column 16: found `rely`, expected the name of an operation
