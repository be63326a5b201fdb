; test: regions
; The image is rounded by the convolution that reads it, the output is stored as f32 by the last operation.
graph g {
  %x: f32[1,3,8,8] = input
  %low: f16[1,3,8,8] = pointwise(%x) {cast($0, f16)}
  %w: f16[4,3,1,1] = const fill 0.5
  %c: f16[1,4,8,8] = conv(%low, %w)
  %m: f16[1,4,1,1] = reduce(%c) mean axes=[2,3] keep_dims
  %y: f32[1,4,1,1] = pointwise(%m) {cast($0, f32)}
  output "y" %y
}
; expect:
conv [low c]: conv  (f32[1,3,8,8] as f16, *f16[4,3,1,1]) -> f16[1,4,8,8]
reduce [m y]: reduce mean axes=[2,3] keep_dims (f16[1,4,8,8]) -> f32[1,4,1,1] then {cast($0, f32)}
