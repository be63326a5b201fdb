; test: parse
; Equal terms are shared, dead ones go, names are renumbered.
graph expressions {
  %a: f32[2,1] = input
  %b: f32[3] = input
  %shared: f32[2,3] = pointwise(%a, %b) {mul(relu(add($0, $1)), sigmoid(add($0, $1)))}
  %dead: f32[2,3] = pointwise(%a, %b) {let unused = exp($0); let x = sub($0, $1); mul(x, x)}
  %typed: i8[2,3] = pointwise(%a, %b) {cast(select(and(lt($0, -1.5e-3:f32), not(isnan($1))), inf:f32, NaN:f32), i8)}
  %wide: f32[2,3] = pointwise(%a, %b) {$0}
  output "y" %shared
}
; expect:
graph expressions {
  %a: f32[2,1] = input "a"
  %b: f32[3] = input "b"
  %shared: f32[2,3] = pointwise(%a, %b) {let t0 = add($0, $1); mul(relu(t0), sigmoid(t0))}
  %dead: f32[2,3] = pointwise(%a, %b) {let t0 = sub($0, $1); mul(t0, t0)}
  %typed: i8[2,3] = pointwise(%a, %b) {cast(select(and(lt($0, -0.0015:f32), not(isnan($1))), inf:f32, NaN:f32), i8)}
  %wide: f32[2,3] = pointwise(%a, %b) {$0}
  output "y" %shared
}
