//! Damaged NumPy files: an error, never a panic, nothing executed.

use std::io::Write;

use diarist::diarize::Plda;
use diarist::diarize::npz::{Npz, open_npy};
use proptest::prelude::*;

fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// The bytes of a `.npz` file.
fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn f8(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_files_are_refused(at in 0usize..400, byte: u8, cut in 0usize..400) {
        let whole = npz(&[("a", npy("<f8", "(2,)", &f8(&[1.0, 2.0]))), ("b", npy("|i1", "()", &[3]))]);
        let mut damaged = whole.clone();
        let at = at % damaged.len();
        damaged[at] = byte;
        damaged.truncate(damaged.len() - cut % 40);
        let (_folder, path) = write("x.npz", &damaged);
        if let Ok(file) = Npz::open(&path) {
            let _ = file.values("a", &[2]);
        }
    }

    #[test]
    fn any_header_is_an_array_or_an_error(kind in "[<>|]?[a-zA-Z][0-9]{0,2}", shape in "[(]?[0-9, -]{0,12}[)]?", data: Vec<u8>) {
        let (_folder, path) = write("x.npy", &npy(&kind, &shape, &data));
        let _ = open_npy(&path);
    }
}

#[test]
fn a_plda_must_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let write = |psi: &[f64], rows: &str| {
        let transform = [
            ("mean1", npy("<f8", "(2,)", &f8(&[0.0, 0.0]))),
            ("mean2", npy("<f8", "(2,)", &f8(&[0.0, 0.0]))),
            ("lda", npy("<f8", "(2, 2)", &f8(&[1.0, 0.0, 0.0, 1.0]))),
        ];
        let plda = [
            ("mu", npy("<f8", "(2,)", &f8(&[0.0, 0.0]))),
            ("tr", npy("<f8", rows, &f8(&[1.0, 0.0, 0.0, 2.0]))),
            ("psi", npy("<f8", "(2,)", &f8(psi))),
        ];
        std::fs::write(folder.path().join("xvec_transform.npz"), npz(&transform)).unwrap();
        std::fs::write(folder.path().join("plda.npz"), npz(&plda)).unwrap();
        Plda::open(folder.path())
    };
    // The axis along which speakers differ more comes first; (3, 4) has length 5, and becomes sqrt(2) long.
    let plda = write(&[1.0, 4.0], "(2, 2)").unwrap();
    assert_eq!(plda.phi(), [4.0, 1.0]);
    let features = plda.features(&[3.0, 4.0]);
    let length = 2.0f64.sqrt();
    assert!(
        (features[0] - 2.0 * 0.8 * length).abs() < 1e-12 && (features[1] - 0.6 * length).abs() < 1e-12,
        "{features:?}"
    );
    for (psi, rows, reason) in
        [([1.0, -1.0], "(2, 2)", "variance"), ([1.0, f64::NAN], "(2, 2)", "variance"), ([1.0, 2.0], "(4,)", "shape")]
    {
        let error = write(&psi, rows).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    std::fs::remove_file(folder.path().join("plda.npz")).unwrap();
    assert!(Plda::open(folder.path()).is_err());
}
