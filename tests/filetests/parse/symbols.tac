; test: parse
; Open sizes: what inference writes is what has to be written; two forms of one size are the same size.
graph symbols {
  %x: f32[N,3,H,'image width'] = input
  %w: f32[8,3,3,3] = const fill 0.5
  %y: f32[N,8,floor(H - 1, 2) + 1,floor('image width' - 1, 2) + 1] = conv(%x, %w) strides=[2,2] pads=[(1,1),(1,1)]
  %two: f32[N + N,3,H,'image width'] = concat(%x, %x) axis=0
  %rest: f32[2*N - 1,3,H,'image width'] = slice(%two) axes=[(0,1,N*2 - 1)]
  output "y" %y
  output "rest" %rest
}
; expect:
graph symbols {
  %x: f32[N,3,H,'image width'] = input "x"
  %w: f32[8,3,3,3] = const fill 0.5
  %y: f32[N,8,floor(H - 1, 2) + 1,floor('image width' - 1, 2) + 1] = conv(%x, %w) strides=[2,2] pads=[(1,1),(1,1)]
  %two: f32[2*N,3,H,'image width'] = concat(%x, %x) axis=0
  %rest: f32[2*N - 1,3,H,'image width'] = slice(%two) axes=[(0,1,2*N - 1)]
  output "y" %y
  output "rest" %rest
}
