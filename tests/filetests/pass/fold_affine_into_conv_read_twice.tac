; test: pass fold_affine_into_conv
; The convolution has another reader, so its weights stay.
graph g {
  %x: f32[1,2,4,4] = input
  %w: f32[2,2,1,1] = const {1.0, 2.0, 3.0, 4.0}
  %s: f32[2,1,1] = const {2.0, 3.0}
  %c: f32[1,2,4,4] = conv(%x, %w)
  %y: f32[1,2,4,4] = pointwise(%c, %s) {mul($0, $1)}
  output "y" %y
  output "c" %c
}
; expect:
graph g {
  %x: f32[1,2,4,4] = input "x"
  %w: f32[2,2,1,1] = const {1.0, 2.0, 3.0, 4.0}
  %s: f32[2,1,1] = const {2.0, 3.0}
  %c: f32[1,2,4,4] = conv(%x, %w)
  %y: f32[1,2,4,4] = pointwise(%c, %s) {mul($0, $1)}
  output "y" %y
  output "c" %c
}
