; test: pass fold_affine_into_conv
; Filter 0 by 2, filter 1 by 3; biases 1*2 + 0.5 and 2*3 + 0.25.
graph g {
  %x: f32[1,2,4,4] = input
  %w: f32[2,2,1,1] = const {1.0, 2.0, 3.0, 4.0}
  %b: f32[2] = const {1.0, 2.0}
  %s: f32[2,1,1] = const {2.0, 3.0}
  %k: f32[2,1,1] = const {0.5, 0.25}
  %c: f32[1,2,4,4] = conv(%x, %w, %b)
  %y: f32[1,2,4,4] = pointwise(%c, %s, %k) {add(mul($0, $1), $2)}
  output "y" %y
}
; expect:
graph g {
  %x: f32[1,2,4,4] = input "x"
  %w: f32[2,2,1,1] = const {2.0, 4.0, 9.0, 12.0}
  %c.bias: f32[2] = const {2.5, 6.25}
  %c: f32[1,2,4,4] = conv(%x, %w, %c.bias)
  output "y" %c
}
