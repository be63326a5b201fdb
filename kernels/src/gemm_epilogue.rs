//! Epilogues of kernels whose result is a matrix: rows are pixels or rows of a product, columns are channels.

use std::fmt::Write;

use tactician_types::{Binary, DType, Expr, ExprId, ExprNode, Unary};

use crate::expr::rounded_float;
use crate::expr_function;

/// How an epilogue operand spreads over a result of rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    /// An element each, stored as the result is.
    Full,
    /// One value a column.
    Columns,
    /// One value a column of each image, stored as `[images][columns]`.
    ImageColumns {
        /// Columns of the result.
        columns: usize,
    },
    /// One value.
    Scalar,
    /// An element each, which the kernel has copied to shared memory: to `staged`.
    Staged,
}

/// The number that `mma_numbers.cuh` gives a stored type.
pub fn stored_type(dtype: DType) -> Option<u32> {
    match dtype {
        DType::F32 => Some(0),
        DType::F16 => Some(1),
        DType::BF16 => Some(2),
        _ => None,
    }
}

fn stored(dtype: DType) -> Result<u32, String> {
    stored_type(dtype).ok_or_else(|| format!("such kernels store no {dtype}"))
}

/// A generated epilogue.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixEpilogue {
    /// The prelude that `mma_epilogue.cuh` asks for.
    pub prelude: String,
    /// What outputs are raised to last: a parameter of the kernel behind the operands', so that one kernel serves with and
    /// without ReLU. An upper bound stays in the code: as a second parameter it would cost kernels without a clip, which
    /// most are, more than the few kernels that it would save are worth.
    pub low: f32,
}

/// The lower bound of outputs that nothing raises.
pub const UNBOUNDED: f32 = f32::NEG_INFINITY;

/// What an expression computes before its result is raised to a lower bound, and the bound.
fn bounded(expr: &Expr, dtype: DType) -> (Expr, f32) {
    let node = |id: ExprId| expr.nodes()[usize::from(id)];
    let constant = |id: ExprId| match node(id) {
        ExprNode::Const(c) => rounded_float(c).filter(|x| !x.is_nan()),
        _ => None,
    };
    // What is raised, and to what.
    let raised = |id: ExprId| match node(id) {
        ExprNode::Unary(Unary::Relu, a) => Some((a, 0.0)),
        ExprNode::Binary(Binary::Max, a, b) => Some((a, constant(b)?)),
        _ => None,
    };
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        return (expr.clone(), UNBOUNDED);
    }
    if let Some((inner, low)) = raised(expr.root()) {
        return (expr.finish(inner), low);
    }
    // A clip whose upper bound comes last: the order does not matter where the bounds leave something between them.
    if let ExprNode::Binary(Binary::Min, a, b) = node(expr.root())
        && let (Some((inner, low)), Some(high)) = (raised(a), constant(b))
        && low <= high
    {
        let mut lowered = expr.clone();
        let root = lowered.push(ExprNode::Binary(Binary::Min, inner, b));
        return (lowered.finish(root), low);
    }
    (expr.clone(), UNBOUNDED)
}

/// `expr` reads the kernel's sum, of type `anchor`, and then the operands.
///
/// # Errors
/// When the expression does not fit the types, or a type is none of f32, f16 and bf16.
pub fn matrix_epilogue(
    expr: &Expr,
    anchor: DType,
    operands: &[(DType, Over)],
    output: DType,
) -> Result<MatrixEpilogue, String> {
    let mut types = vec![anchor];
    types.extend(operands.iter().map(|o| o.0));
    let result = *expr.dtypes(&types)?.last().ok_or("the expression has no nodes")?;
    let (expr, low) = bounded(expr, result);
    let mut text = expr_function("epilogue_value", &expr, &types)?;
    let (mut params, mut args, mut loads) = (String::new(), String::new(), String::new());
    let mut value = String::from("v[i]");
    for (i, &(dtype, over)) in operands.iter().enumerate() {
        let t = stored(dtype)?;
        if over == Over::Staged {
            let _ = write!(loads, " float x{i}[V]; load_floats<{t}, V>(x{i}, staged, 0);");
            let _ = write!(value, ", x{i}[i]");
            continue;
        }
        let _ = write!(params, ", const void* __restrict__ e{i}");
        let _ = write!(args, ", e{i}");
        let from = match over {
            Over::Full | Over::Staged => "at".to_owned(),
            Over::Columns => "column".to_owned(),
            Over::ImageColumns { columns } => format!("(long long)image * {columns} + column"),
            Over::Scalar => {
                let _ = write!(loads, " const float x{i} = load_float<{t}>(e{i}, 0);");
                let _ = write!(value, ", x{i}");
                continue;
            }
        };
        let _ = write!(loads, " float x{i}[V]; load_floats<{t}, V>(x{i}, e{i}, {from});");
        let _ = write!(value, ", x{i}[i]");
    }
    let _ = writeln!(text, "#define EPILOGUE_PARAMS {params}, const float low");
    let _ = writeln!(text, "#define EPILOGUE_ARGS {args}, low");
    let _ = writeln!(text, "#define EPILOGUE_LOADS {loads}");
    let _ = writeln!(text, "#define EPILOGUE_VALUE(i) op_max((float)epilogue_value({value}), low)");
    let _ = writeln!(text, "#define OUTPUT_TYPE {}", stored(output)?);
    Ok(MatrixEpilogue { prelude: text, low })
}

/// An operand's steps along the axes of the result; axes it does not have step by 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Strided {
    /// Its type.
    pub dtype: DType,
    /// Elements from one position to the next along each axis of the result.
    pub steps: Vec<usize>,
}

/// The prelude for kernels that compute one output a thread, by its index in the plain order of `sizes`: any operand
/// that broadcasts. Defines `EPILOGUE_PARAMS`, `EPILOGUE_ARGS`, `OUTPUT_TYPE` and
/// `epilogue_at(value, index, operands…)`.
///
/// # Errors
/// As [`matrix_epilogue`], or when steps do not match `sizes`.
pub fn strided_epilogue(
    expr: &Expr,
    anchor: DType,
    sizes: &[usize],
    operands: &[Strided],
    output: DType,
) -> Result<String, String> {
    let mut types = vec![anchor];
    types.extend(operands.iter().map(|o| o.dtype));
    let mut text = String::from("#include \"mma_numbers.cuh\"\n");
    text += &expr_function("epilogue_value", expr, &types)?;
    let (mut params, mut args) = (String::new(), String::new());
    let mut body = String::new();
    let mut value = String::from("value");
    for (i, o) in operands.iter().enumerate() {
        let _ = write!(params, ", const void* __restrict__ e{i}");
        let _ = write!(args, ", e{i}");
        let from = offset(sizes, &o.steps)?;
        let _ = writeln!(body, "    const float x{i} = load_float<{}>(e{i}, {from});", stored(o.dtype)?);
        let _ = write!(value, ", x{i}");
    }
    let _ = writeln!(text, "#define EPILOGUE_PARAMS {params}");
    let _ = writeln!(text, "#define EPILOGUE_ARGS {args}");
    let _ = writeln!(text, "#define OUTPUT_TYPE {}", stored(output)?);
    let _ = writeln!(
        text,
        "__device__ __forceinline__ float epilogue_at(float value, long long index EPILOGUE_PARAMS) {{"
    );
    let _ = writeln!(text, "{body}    return (float)epilogue_value({value});\n}}");
    Ok(text)
}

/// A device function `name(long long)`: the element at which something begins, by its index in the plain order of
/// `sizes`; `steps` elements along each axis.
///
/// # Errors
/// When there are not as many steps as sizes, or too many elements.
pub fn strided_index(name: &str, sizes: &[usize], steps: &[usize]) -> Result<String, String> {
    let at = offset(sizes, steps)?;
    Ok(format!("__device__ __forceinline__ long long {name}(long long index) {{\n    return {at};\n}}\n"))
}

/// The sum of the steps to position `index` of the plain order of `sizes`.
fn offset(sizes: &[usize], steps: &[usize]) -> Result<String, String> {
    if steps.len() != sizes.len() {
        return Err(format!("{} steps for {} axes", steps.len(), sizes.len()));
    }
    let mut from = String::from("0");
    let mut inner = 1usize;
    for (&n, &step) in sizes.iter().zip(steps).rev() {
        if step != 0 && n > 1 {
            let _ = write!(from, " + index / {inner}ll % {n}ll * {step}ll");
        }
        inner = inner.checked_mul(n).ok_or("there are too many elements")?;
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use tactician_types::Scalar;

    use super::*;

    #[test]
    fn loads_what_the_expression_reads() {
        let e = Expr::binary(Binary::Add);
        let text =
            matrix_epilogue(&e, DType::F16, &[(DType::F16, Over::Columns)], DType::F16).unwrap().prelude;
        assert!(text.contains("float x0[V]; load_floats<1, V>(x0, e0, column);"), "{text}");
        assert!(text.contains("op_max((float)epilogue_value(v[i], x0[i]), low)"), "{text}");
        assert!(text.contains("#define OUTPUT_TYPE 1"), "{text}");
        assert!(matrix_epilogue(&e, DType::F16, &[(DType::I8, Over::Full)], DType::F16).is_err());
        let text =
            matrix_epilogue(&e, DType::F16, &[(DType::F16, Over::Staged)], DType::F16).unwrap().prelude;
        assert!(text.contains("load_floats<1, V>(x0, staged, 0);") && !text.contains("e0"), "{text}");
    }

    #[test]
    fn lower_bounds_are_a_parameter() {
        let sum = |e: &mut Expr| {
            let [a, b] = [0, 1].map(|i| e.push(ExprNode::Input(i)));
            e.push(ExprNode::Binary(Binary::Add, a, b))
        };
        let number = |e: &mut Expr, x: f64| e.push(ExprNode::Const(Scalar::float(DType::F16, x)));
        let of = |build: &dyn Fn(&mut Expr) -> ExprId| {
            let mut e = Expr::empty();
            build(&mut e);
            let operands = [(DType::F16, Over::Columns)];
            matrix_epilogue(&e, DType::F16, &operands, DType::F16).unwrap()
        };
        let cut = |cuts: &[(Binary, f64)]| {
            of(&|e| {
                cuts.iter().fold(sum(e), |x, &(op, to)| {
                    let to = number(e, to);
                    e.push(ExprNode::Binary(op, x, to))
                })
            })
        };
        let plain = of(&sum);
        assert_eq!(plain.low, UNBOUNDED);
        let relu = of(&|e| {
            let x = sum(e);
            e.push(ExprNode::Unary(Unary::Relu, x))
        });
        assert_eq!(relu, MatrixEpilogue { low: 0.0, ..plain.clone() });
        // Rounded as the type would.
        assert_eq!(cut(&[(Binary::Max, 0.1)]), MatrixEpilogue { low: 0.099_975_586, ..plain.clone() });

        let lowered = cut(&[(Binary::Min, 6.0)]);
        assert!(lowered.low == UNBOUNDED && lowered != plain, "{lowered:?}");
        // The constants of a clip stand in another order where its lower bound came first.
        let same = |a: &MatrixEpilogue, b: &MatrixEpilogue| {
            let shape = |e: &MatrixEpilogue| (e.low, e.prelude.matches("op_min").count(), e.prelude.len());
            shape(a) == shape(b)
        };
        let raised = MatrixEpilogue { low: -1.0, ..lowered.clone() };
        assert_eq!(cut(&[(Binary::Min, 6.0), (Binary::Max, -1.0)]), raised);
        let clip = cut(&[(Binary::Max, -1.0), (Binary::Min, 6.0)]);
        assert!(same(&clip, &raised), "{clip:?}");
        // The last cut wins where nothing is between them.
        let odd = cut(&[(Binary::Max, 6.0), (Binary::Min, 0.0)]);
        assert!(odd.low == UNBOUNDED && odd.prelude.matches("op_max").count() > 1, "{odd:?}");
        // What it cuts is not the whole result.
        let scaled = of(&|e| {
            let x = sum(e);
            let y = e.push(ExprNode::Unary(Unary::Relu, x));
            e.push(ExprNode::Binary(Binary::Mul, x, y))
        });
        assert_eq!(scaled.low, UNBOUNDED);
    }

    #[test]
    fn steps_only_along_the_axes_that_an_operand_has() {
        let text = strided_index("f", &[2, 3, 5], &[0, 7, 1]).unwrap();
        assert!(text.contains("return 0 + index / 1ll % 5ll * 1ll + index / 5ll % 3ll * 7ll;"), "{text}");
        assert!(strided_index("f", &[2], &[]).is_err());
    }
}
