; test: precision f16
; Powers of two of 8 bits have exponents that f16 has not; other narrow types become f16 at once.
graph g {
  %q: f8e4m3fn[2,4] = input "q"
  %s: f8e8m0[2,1] = input "s"
  %w: f32[2,4] = pointwise(%q) {cast($0, f32)}
  %scale: f32[2,1] = pointwise(%s) {cast($0, f32)}
  %y: f32[2,4] = pointwise(%w, %scale) {mul($0, $1)}
  output "y" %y
}
; expect:
graph g {
  %q: f8e4m3fn[2,4] = input "q"
  %s: f8e8m0[2,1] = input "s"
  %w: f16[2,4] = pointwise(%q) {cast($0, f16)}
  %scale: f32[2,1] = pointwise(%s) {cast($0, f32)}
  %scale_as_f16: f16[2,1] = pointwise(%scale) {cast($0, f16)} "scale as f16"
  %y: f16[2,4] = pointwise(%w, %scale_as_f16) {mul($0, $1)}
  %y_as_f32: f32[2,4] = pointwise(%y) {cast($0, f32)} "y as f32"
  output "y" %y_as_f32
}
