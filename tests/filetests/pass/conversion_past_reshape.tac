; test: pass conversion_past_reshape
; The product may store its result as f32 itself.
graph g {
  %x: f16[2,8] = input
  %w: f16[8,6] = const fill 0.5
  %m: f16[2,6] = matmul(%x, %w)
  %r: f16[2,2,3] = reshape(%m) shape=[2,2,3]
  %y: f32[2,2,3] = pointwise(%r) {cast($0, f32)}
  output "y" %y
}
; expect:
graph g {
  %x: f16[2,8] = input "x"
  %w: f16[8,6] = const fill 0.5
  %m: f16[2,6] = matmul(%x, %w)
  %y: f32[2,6] = pointwise(%m) {cast($0, f32)}
  %r: f32[2,2,3] = reshape(%y) shape=[2,2,3]
  output "y" %r
}
