; test: pass merge_clamps
; Clamps to [-1, 8] and then to [0, 6] are one clamp.
graph g {
  %x: f32[4] = input
  %a: f32[4] = pointwise(%x) {min(max($0, -1.0:f32), 8.0:f32)}
  %b: f32[4] = pointwise(%a) {min(max($0, 0.0:f32), 6.0:f32)}
  output "y" %b
}
; expect:
graph g {
  %x: f32[4] = input "x"
  %b: f32[4] = pointwise(%x) {min(max($0, 0.0:f32), 6.0:f32)}
  output "y" %b
}
