; test: parse
; Line breaks, blanks and comments are free.
graph layout { // a comment
  %x : f32 [ 1 , 2 ]
    = input "x" %y:f32[1,2]=softmax(%x)axis=1 output "y"%y
  // the end
}
; expect:
graph layout {
  %x: f32[1,2] = input "x"
  %y: f32[1,2] = softmax(%x) axis=1
  output "y" %y
}
