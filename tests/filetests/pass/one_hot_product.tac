; test: pass one_hot_product
; An embedding as JAX exports it. Numbers that are none of the rows give zeros, which are behind the last row.
graph g {
  %ids: i32[2,3,1] = input
  %all: i32[1,1,2] = const {0, 1}
  %e: bool[2,3,2] = pointwise(%ids, %all) {eq($0, $1)}
  %h: f32[2,3,2] = pointwise(%e) {cast($0, f32)}
  %w: f32[2,2] = const {1.0, 2.0, 3.0, 4.0}
  %y: f32[2,3,2] = matmul(%h, %w)
  output "y" %y
}
; expect:
graph g {
  %ids: i32[2,3,1] = input "ids"
  %y: i32[2,3,1] = pointwise(%ids) {select(and(ge($0, 0:i32), lt($0, 2:i32)), $0, 2:i32)}
  %y_1: i32[2,3] = reshape(%y) shape=[2,3] "y"
  %w: f32[3,2] = const {1.0, 2.0, 3.0, 4.0, 0.0, 0.0}
  %y_2: f32[2,3,2] = gather(%w, %y_1) axis=0 "y"
  output "y" %y_2
}
