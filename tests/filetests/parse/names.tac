; test: parse
; Names that are no identifiers, that repeat, that are missing.
graph "a graph / with a name" {
  %in: f32[2] = input "input:0"
  %a: f32[2] = pointwise(%in) {relu($0)} "same"
  %b: f32[2] = pointwise(%a) {relu($0)} "same"
  %_0: f32[2] = pointwise(%b) {neg($0)}
  %c: f32[2] = pointwise(%_0) {neg($0)} ""
  %123: f32[2] = pointwise(%c) {neg($0)}
  %/layer.1/Relu: f32[2] = pointwise(%123) {neg($0)}
  %d: f32[2] = pointwise(%/layer.1/Relu) {neg($0)} "tab\there \"quoted\" \u{e9}"
  output "out put" %d
  output "again" %d
}
; expect:
graph "a graph / with a name" {
  %input_0: f32[2] = input "input:0"
  %same: f32[2] = pointwise(%input_0) {relu($0)}
  %same_1: f32[2] = pointwise(%same) {relu($0)} "same"
  %_0: f32[2] = pointwise(%same_1) {neg($0)}
  %_1: f32[2] = pointwise(%_0) {neg($0)}
  %123: f32[2] = pointwise(%_1) {neg($0)}
  %/layer.1/Relu: f32[2] = pointwise(%123) {neg($0)}
  %tab_here__quoted___: f32[2] = pointwise(%/layer.1/Relu) {neg($0)} "tab\there \"quoted\" é"
  output "out put" %tab_here__quoted___
  output "again" %tab_here__quoted___
}
