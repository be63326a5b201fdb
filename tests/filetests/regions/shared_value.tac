; test: regions
; The convolution is read twice, so its readers stay regions of their own.
graph g {
  %x: f32[1,2,4,4] = input
  %w: f32[2,2,1,1] = const {1.0, 2.0, 3.0, 4.0}
  %c: f32[1,2,4,4] = conv(%x, %w)
  %a: f32[1,2,4,4] = pointwise(%c) {relu($0)}
  %b: f32[1,2,4,4] = pointwise(%c) {tanh($0)}
  output "a" %a
  output "b" %b
}
; expect:
conv [c]: conv  (f32[1,2,4,4], *f32[2,2,1,1]) -> f32[1,2,4,4]
pointwise [a]: pointwise {relu($0)} (f32[1,2,4,4]) -> f32[1,2,4,4]
pointwise [b]: pointwise {tanh($0)} (f32[1,2,4,4]) -> f32[1,2,4,4]
