; test: pass pad_into_conv
; Zeros before a convolution are its padding; other values, and borders of other axes, are not.
graph g {
  %x: f32[1,2,4,4] = input
  %w: f32[2,2,3,3] = const fill 0.5
  %p: f32[1,2,6,7] = pad(%x) pads=[(0,0),(0,0),(1,1),(1,2)] constant=0.0:f32
  %a: f32[1,2,4,5] = conv(%p, %w)
  %q: f32[1,2,6,6] = pad(%x) pads=[(0,0),(0,0),(1,1),(1,1)] constant=1.0:f32
  %b: f32[1,2,4,4] = conv(%q, %w)
  output "a" %a
  output "b" %b
}
; expect:
graph g {
  %x: f32[1,2,4,4] = input "x"
  %w: f32[2,2,3,3] = const fill 0.5
  %q: f32[1,2,6,6] = pad(%x) pads=[(0,0),(0,0),(1,1),(1,1)] constant=1.0:f32
  %b: f32[1,2,4,4] = conv(%q, %w)
  %a: f32[1,2,4,5] = conv(%x, %w) pads=[(1,1),(1,2)]
  output "a" %a
  output "b" %b
}
