; test: pass bias_into_conv
; 1 + 0.5 and 2 - 0.5, in one bias.
graph g {
  %x: f32[1,2,4,4] = input
  %w: f32[2,2,1,1] = const {1.0, 2.0, 3.0, 4.0}
  %b: f32[2] = const {1.0, 2.0}
  %k: f32[1,2,1,1] = const {0.5, -0.5}
  %c: f32[1,2,4,4] = conv(%x, %w, %b)
  %y: f32[1,2,4,4] = pointwise(%c, %k) {add($0, $1)}
  output "y" %y
}
; expect:
graph g {
  %x: f32[1,2,4,4] = input "x"
  %w: f32[2,2,1,1] = const {1.0, 2.0, 3.0, 4.0}
  %c.bias: f32[2] = const fill 1.5
  %c: f32[1,2,4,4] = conv(%x, %w, %c.bias)
  output "y" %c
}
