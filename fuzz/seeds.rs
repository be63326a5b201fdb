//! `seeds CORPUS`: fills the corpora with real plans, tables, graphs and models.

use std::error::Error;
use std::fs;
use std::path::Path;

use tactician::{Builder, ir, zoo};

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = std::env::args().nth(1).ok_or("usage: seeds CORPUS")?;
    let folder = |name: &str| {
        let path = Path::new(&corpus).join(name);
        fs::create_dir_all(&path).map(|()| path)
    };
    let tuned = Builder::new().threads(1).tune(&zoo::tiny(1))?;
    for workspace in [0, 1 << 20] {
        let meta = postcard::to_stdvec(&tuned.plan(workspace)?.meta)?;
        fs::write(folder("plan")?.join(format!("tiny-{workspace}")), meta)?;
    }
    fs::write(folder("table")?.join("tiny"), tuned.table().to_text())?;
    fs::write(folder("text")?.join("tiny"), ir::text::abbreviated(tuned.graph()))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    copy(&root.join("tests/filetests"), "tac", &folder("text")?)?;
    for target in ["onnx", "stages"] {
        copy(&root.join("fuzz/seeds/onnx"), "onnx", &folder(target)?)?;
    }
    Ok(())
}

fn copy(from: &Path, extension: &str, to: &Path) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_dir() {
            copy(&path, extension, to)?;
        } else if path.extension().is_some_and(|e| e == extension) {
            let name = path.file_name().ok_or("a file has a name")?;
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
