; test: parse
; Every operation once, attributes away from their defaults.
graph every_op {
  %x: f32[2,4,9,9] = input "x"
  %m: f32[3,5] = input "m"
  %i: i64[2,1] = const {0, -1}
  %w: f32[6,2,3,3] = const fill 0.25
  %wt: f32[4,3,3,3] = const fill -0.5
  %c: f32[6] = const {1.0, 2.0, -0.5, 1e-7, inf, nan}
  %s: f32[4] = const fill 1.0
  %conv: f32[2,6,5,8] = conv(%x, %w, %c) strides=[2,1] pads=[(1,1),(2,1)] dilations=[1,2] groups=2
  %deconv: f32[2,6,18,18] = conv_transpose(%x, %wt) strides=[2,2] pads=[(1,1),(1,1)] output_padding=[1,1] groups=2
  %mm: f32[5,5] = matmul(%m, %m) trans_a
  %silu: f32[3,5] = pointwise(%m) {let t0 = add($0, 0.5:f32); mul(t0, sigmoid(t0))}
  %less: bool[3,5] = pointwise(%m, %silu) {lt($0, $1)}
  %pick: f32[3,5] = pointwise(%less, %m) {select($0, $1, cast($0, f32))}
  %maxp: f32[2,4,5,5] = pool(%x) max window=[3,3] strides=[2,2] pads=[(1,1),(1,1)]
  %avgp: f32[2,4,4,4] = pool(%x) average count_pad window=[3,3] strides=[2,2] ceil
  %lpp: f32[2,4,8,8] = pool(%x) lp=2 window=[2,2]
  %mean: f32[2,4,1,1] = reduce(%x) mean axes=[2,3] keep_dims
  %lse: f32[2,4] = reduce(%x) log_sum_exp axes=[2,3]
  %amax: i64[3,1] = arg_reduce(%m) max axis=1 keep_dims last
  %amin: i64[5] = arg_reduce(%m) min axis=0
  %soft: f32[3,5] = softmax(%m) axis=1
  %logs: f32[3,5] = softmax(%m) axis=0 log
  %bn: f32[2,4,9,9] = batch_norm(%x, %s, %s, %s, %s) epsilon=1e-5
  %ln: f32[3,5] = layer_norm(%m) axis=1 epsilon=1e-12
  %rms: f32[3,5] = rms_norm(%m) axis=0 epsilon=0.0
  %in: f32[2,4,9,9] = instance_norm(%x, %s, %s) epsilon=0.001
  %gn: f32[2,4,9,9] = group_norm(%x, %s, %s) groups=2 epsilon=0.001
  %lrn: f32[2,4,9,9] = lrn(%x) size=5 alpha=0.0001 beta=0.75 bias=1.0
  %flat: f32[2,324] = reshape(%x) shape=[2,324]
  %bits: i32[3,5] = bit_cast(%m) to=i32
  %nhwc: f32[2,9,9,4] = transpose(%x) perm=[0,2,3,1]
  %wide: f32[7,3,5] = expand(%m) shape=[7,1,1]
  %cat: f32[3,15] = concat(%m, %m, %m) axis=1
  %part: f32[2,2] = slice(%m) axes=[(0,2,2,-1),(1,0,2,3)]
  %zeros: f32[2,4,10,12] = pad(%x) pads=[(0,0),(0,0),(0,1),(2,1)] constant=-0.5:f32
  %mirror: f32[4,7] = pad(%m) pads=[(1,0),(1,1)] reflect
  %edge: f32[4,7] = pad(%m) pads=[(1,0),(1,1)] edge
  %wrap: f32[4,7] = pad(%m) pads=[(1,0),(1,1)] wrap
  %rows: f32[2,1,5] = gather(%m, %i) axis=0
  %each: f32[2,1] = gather_elements(%m, %i) axis=0
  %near: f32[2,4,18,18] = resize(%x) axes=[(2,18,2.0),(3,18,2.0)] nearest=floor coordinates=asymmetric
  %lin: f32[2,4,18,9] = resize(%x) axes=[(2,18,2.0)] linear antialias
  %cub: f32[2,4,18,9] = resize(%x) axes=[(2,18,2.0,(0.25,0.75))] cubic=-0.75 exclude_outside coordinates=tf_crop_and_resize extrapolation=-1.0
  output "y" %conv
  output "z" %silu
}
; expect:
graph every_op {
  %x: f32[2,4,9,9] = input "x"
  %m: f32[3,5] = input "m"
  %i: i64[2,1] = const {0, -1}
  %w: f32[6,2,3,3] = const fill 0.25
  %wt: f32[4,3,3,3] = const fill -0.5
  %c: f32[6] = const {1.0, 2.0, -0.5, 1e-7, inf, nan}
  %s: f32[4] = const fill 1.0
  %conv: f32[2,6,5,8] = conv(%x, %w, %c) strides=[2,1] pads=[(1,1),(2,1)] dilations=[1,2] groups=2
  %deconv: f32[2,6,18,18] = conv_transpose(%x, %wt) strides=[2,2] pads=[(1,1),(1,1)] output_padding=[1,1] groups=2
  %mm: f32[5,5] = matmul(%m, %m) trans_a
  %silu: f32[3,5] = pointwise(%m) {let t0 = add($0, 0.5:f32); mul(t0, sigmoid(t0))}
  %less: bool[3,5] = pointwise(%m, %silu) {lt($0, $1)}
  %pick: f32[3,5] = pointwise(%less, %m) {select($0, $1, cast($0, f32))}
  %maxp: f32[2,4,5,5] = pool(%x) max window=[3,3] strides=[2,2] pads=[(1,1),(1,1)]
  %avgp: f32[2,4,4,4] = pool(%x) average count_pad window=[3,3] strides=[2,2] ceil
  %lpp: f32[2,4,8,8] = pool(%x) lp=2 window=[2,2]
  %mean: f32[2,4,1,1] = reduce(%x) mean axes=[2,3] keep_dims
  %lse: f32[2,4] = reduce(%x) log_sum_exp axes=[2,3]
  %amax: i64[3,1] = arg_reduce(%m) max axis=1 keep_dims last
  %amin: i64[5] = arg_reduce(%m) min axis=0
  %soft: f32[3,5] = softmax(%m) axis=1
  %logs: f32[3,5] = softmax(%m) axis=0 log
  %bn: f32[2,4,9,9] = batch_norm(%x, %s, %s, %s, %s) epsilon=1e-5
  %ln: f32[3,5] = layer_norm(%m) axis=1 epsilon=1e-12
  %rms: f32[3,5] = rms_norm(%m) axis=0 epsilon=0.0
  %in: f32[2,4,9,9] = instance_norm(%x, %s, %s) epsilon=0.001
  %gn: f32[2,4,9,9] = group_norm(%x, %s, %s) groups=2 epsilon=0.001
  %lrn: f32[2,4,9,9] = lrn(%x) size=5 alpha=0.0001 beta=0.75 bias=1.0
  %flat: f32[2,324] = reshape(%x) shape=[2,324]
  %bits: i32[3,5] = bit_cast(%m) to=i32
  %nhwc: f32[2,9,9,4] = transpose(%x) perm=[0,2,3,1]
  %wide: f32[7,3,5] = expand(%m) shape=[7,1,1]
  %cat: f32[3,15] = concat(%m, %m, %m) axis=1
  %part: f32[2,2] = slice(%m) axes=[(0,2,2,-1),(1,0,2,3)]
  %zeros: f32[2,4,10,12] = pad(%x) pads=[(0,0),(0,0),(0,1),(2,1)] constant=-0.5:f32
  %mirror: f32[4,7] = pad(%m) pads=[(1,0),(1,1)] reflect
  %edge: f32[4,7] = pad(%m) pads=[(1,0),(1,1)] edge
  %wrap: f32[4,7] = pad(%m) pads=[(1,0),(1,1)] wrap
  %rows: f32[2,1,5] = gather(%m, %i) axis=0
  %each: f32[2,1] = gather_elements(%m, %i) axis=0
  %near: f32[2,4,18,18] = resize(%x) axes=[(2,18,2.0),(3,18,2.0)] nearest=floor coordinates=asymmetric
  %lin: f32[2,4,18,9] = resize(%x) axes=[(2,18,2.0)] linear antialias
  %cub: f32[2,4,18,9] = resize(%x) axes=[(2,18,2.0,(0.25,0.75))] cubic=-0.75 exclude_outside coordinates=tf_crop_and_resize extrapolation=-1.0
  output "y" %conv
  output "z" %silu
}
