; test: precision f16
; Weights and activations become f16; the network's own input and output do not.
graph g {
  %x: f32[1,2,4,4] = input "x"
  %w: f32[3,2,1,1] = const fill 0.5
  %b: f32[3] = const {1.0, -2.0, 0.25}
  %c: f32[1,3,4,4] = conv(%x, %w, %b)
  %r: f32[1,3,4,4] = pointwise(%c) {min(max($0, 0.0:f32), 6.0:f32)}
  output "y" %r
}
; expect:
graph g {
  %x: f32[1,2,4,4] = input "x"
  %x_as_f16: f16[1,2,4,4] = pointwise(%x) {cast($0, f16)} "x as f16"
  %w: f16[3,2,1,1] = const fill 0.5
  %b: f16[3] = const {1.0, -2.0, 0.25}
  %c: f16[1,3,4,4] = conv(%x_as_f16, %w, %b)
  %r: f16[1,3,4,4] = pointwise(%c) {min(max($0, 0.0:f16), 6.0:f16)}
  %r_as_f32: f32[1,3,4,4] = pointwise(%r) {cast($0, f32)} "r as f32"
  output "y" %r_as_f32
}
