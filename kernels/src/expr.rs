//! Expressions as CUDA functions.

use std::fmt::Write;

use half::{bf16, f16};
use tactician_types::{Binary, DType, Expr, ExprId, ExprNode, Scalar, Unary};

/// The storage type that `types.cuh` has for elements of a type, such as `f16`.
pub fn storage_type(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::F64 => "f64",
        DType::I8 => "i8",
        DType::I16 => "i16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::U8 => "u8",
        DType::U16 => "u16",
        DType::U32 => "u32",
        DType::U64 => "u64",
        DType::Bool => "b8",
        _ => return None,
    })
}

/// The type that values of an element type are computed with, such as `float` for `f16`.
pub fn compute_type(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 => Some("float"),
        DType::F64 => Some("double"),
        DType::Bool => Some("bool"),
        _ => storage_type(dtype),
    }
}

/// An expression as a function `name` of one parameter an input, used or not, all of compute types; it returns the
/// compute type of its result. The text starts by including `types.cuh`: give it to [`crate::source`] as the prelude.
///
/// # Errors
/// When the expression is unsound or does not fit the types, one of them has no CUDA counterpart, or `name` is no
/// identifier.
pub fn expr_function(name: &str, expr: &Expr, inputs: &[DType]) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(plain) {
        return Err(format!("`{name}` is no identifier"));
    }
    expr.check()?;
    let types = expr.dtypes(inputs)?;
    let compute = |t: DType| compute_type(t).ok_or_else(|| format!("{t} has no type in CUDA"));
    let parameters = inputs
        .iter()
        .enumerate()
        .map(|(i, &t)| Ok(format!("{} x{i}", compute(t)?)))
        .collect::<Result<Vec<_>, String>>()?;
    let root = expr.root() as usize;
    let mut text = String::from("#include \"types.cuh\"\n");
    let result = compute(types[root])?;
    let _ = writeln!(text, "__device__ __forceinline__ {result} {name}({}) {{", parameters.join(", "));
    for (at, node) in expr.nodes().iter().enumerate() {
        let value = value(node, &types, at);
        let _ = writeln!(text, "    const {} t{at} = {value};", compute(types[at])?);
    }
    let _ = writeln!(text, "    return t{root};\n}}");
    Ok(text)
}

/// The value of one node.
fn value(node: &ExprNode, types: &[DType], at: usize) -> String {
    let dtype = types[at];
    match *node {
        ExprNode::Input(i) => format!("x{i}"),
        ExprNode::Const(c) => literal(c),
        ExprNode::Select(c, a, b) => format!("t{c} ? t{a} : t{b}"),
        ExprNode::Cast(to, a) => cast(to, types[a as usize], a),
        ExprNode::Unary(op, a) => unary(op, dtype, types[a as usize], a),
        ExprNode::Binary(op, a, b) => binary(op, types[a as usize], a, b),
    }
}

/// A constant of a type that is computed with as `float`, rounded to its type.
pub(crate) fn rounded_float(c: Scalar) -> Option<f32> {
    match c.dtype {
        DType::F32 => Some(c.as_f64() as f32),
        DType::F16 => Some(f16::from_f64(c.as_f64()).to_f32()),
        DType::BF16 => Some(bf16::from_f64(c.as_f64()).to_f32()),
        _ => None,
    }
}

/// A constant, rounded to its type.
fn literal(c: Scalar) -> String {
    if let Some(x) = rounded_float(c) {
        return format!("__int_as_float({:#x})", x.to_bits());
    }
    match c.dtype {
        DType::F64 => format!("__longlong_as_double({:#x}ll)", c.as_f64().to_bits()),
        DType::Bool => (c.as_i64() != 0).to_string(),
        t => format!("({}){:#x}ull", t.name(), c.as_i64() as u64),
    }
}

fn cast(to: DType, from: DType, a: ExprId) -> String {
    match (to, from) {
        _ if to == from => format!("t{a}"),
        (DType::F16 | DType::BF16, _) => format!("rounded<{}>((float)t{a})", to.name()),
        (DType::F32, _) => format!("(float)t{a}"),
        (DType::F64, _) => format!("(double)t{a}"),
        (DType::Bool, f) if f.is_float() => format!("t{a} != 0"),
        (DType::Bool, _) => format!("t{a} != ({})0", from.name()),
        (t, f) if f.is_float() => format!("int_from_float<{}>(t{a})", t.name()),
        (t, _) => format!("({})t{a}", t.name()),
    }
}

fn unary(op: Unary, dtype: DType, operand: DType, a: ExprId) -> String {
    use Unary::*;
    if operand.is_float() {
        let short = matches!(dtype, DType::F16 | DType::BF16);
        return match op {
            Neg => format!("-t{a}"),
            Exp | Sigmoid if short => format!("op_{}_short(t{a})", op.name()),
            _ => format!("op_{}(t{a})", op.name()),
        };
    }
    let signed = operand.is_signed_int();
    match op {
        Not => format!("!t{a}"),
        BitNot => format!("({})~t{a}", operand.name()),
        Neg => format!("int_neg(t{a})"),
        Abs if signed => format!("int_abs(t{a})"),
        Relu if signed => format!("int_relu(t{a})"),
        Sign => format!("int_sign(t{a})"),
        _ => format!("t{a}"),
    }
}

fn binary(op: Binary, dtype: DType, a: ExprId, b: ExprId) -> String {
    use Binary::*;
    let sign = match op {
        Eq => "==",
        Lt => "<",
        Le => "<=",
        Gt => ">",
        Ge => ">=",
        And => "&&",
        Or => "||",
        Xor => "!=",
        Add if dtype.is_float() => "+",
        Sub if dtype.is_float() => "-",
        Mul if dtype.is_float() => "*",
        Div if dtype.is_float() => "/",
        BitAnd => return format!("({})(t{a} & t{b})", dtype.name()),
        BitOr => return format!("({})(t{a} | t{b})", dtype.name()),
        BitXor => return format!("({})(t{a} ^ t{b})", dtype.name()),
        _ if dtype.is_float() => return format!("op_{}(t{a}, t{b})", op.name()),
        _ => return format!("int_{}(t{a}, t{b})", op.name()),
    };
    format!("t{a} {sign} t{b}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_a_function_of_all_inputs() {
        let mut e = Expr::empty();
        let x = e.push(ExprNode::Input(0));
        let y = e.push(ExprNode::Input(2));
        let sum = e.push(ExprNode::Binary(Binary::Add, x, y));
        e.push(ExprNode::Unary(Unary::Relu, sum));
        let text = expr_function("epilogue", &e, &[DType::F16; 3]).unwrap();
        let want = "#include \"types.cuh\"\n\
            __device__ __forceinline__ float epilogue(float x0, float x1, float x2) {\n    \
                const float t0 = x0;\n    \
                const float t1 = x2;\n    \
                const float t2 = t0 + t1;\n    \
                const float t3 = op_relu(t2);\n    \
                return t3;\n\
            }\n";
        assert_eq!(text, want);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = Expr::binary(Binary::Add);
        assert!(expr_function("f", &e, &[DType::F32, DType::I32]).is_err());
        assert!(expr_function("f", &e, &[DType::F32]).is_err());
        assert!(expr_function("f(", &e, &[DType::F32; 2]).is_err());
        // Narrow types are converted by the CPU.
        for t in DType::ALL.into_iter().filter(|t| t.is_narrow()) {
            let narrow = Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(t, 0)]).unwrap();
            assert!(expr_function("f", &narrow, &[DType::F32]).unwrap_err().contains(t.name()));
            let widen = Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(DType::F32, 0)]).unwrap();
            assert!(expr_function("f", &widen, &[t]).unwrap_err().contains(t.name()));
        }
    }

    #[test]
    fn constants_are_rounded_to_their_type() {
        assert_eq!(literal(Scalar::float(DType::F16, 1.0001)), "__int_as_float(0x3f800000)");
        assert_eq!(literal(Scalar::int(DType::I64, i64::MIN)), "(i64)0x8000000000000000ull");
        assert_eq!(literal(Scalar::int(DType::Bool, 1)), "true");
    }
}
