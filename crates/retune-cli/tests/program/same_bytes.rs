//! The same command gives the same bytes, on any number of threads.

use crate::common::{Workplace, model, model_of};

#[test]
fn one_two_and_seven_threads_give_the_same_bytes() {
    let here = Workplace::new();
    let families = [model(), model_of("vit"), model_of("convnext"), model_of("efficientnet")];
    let methods = [
        "--method lp-ft --augment randaugment --bn train",
        "--method auto-rgn --mixup 0.2 --label-smoothing 0.1",
        "--method lora --optimizer sgd",
        "--method surgical --first head --last head --augment standard",
    ];
    // Every method and every family, each pair of neighbors; the shorter list starts over.
    let places = 0..families.len().max(methods.len());
    let pairs = places.flat_map(|place| [(place, place), (place, place + 1)]);
    for (number, (family, method)) in pairs.enumerate() {
        let line = |threads: usize| {
            let (model, method) = (&families[family % families.len()], methods[method % methods.len()]);
            format!(
                "fit --model {model} --data data --eval shifted=shifted {method} --epochs 2 --lr 1e-3 -q \
                 --threads {threads} --out run{number}-{threads}"
            )
        };
        for threads in [1, 2, 7] {
            here.succeeds(&line(threads));
        }
        for threads in [2, 7] {
            here.assert_same(&format!("run{number}-1"), &format!("run{number}-{threads}"));
            let splits = |threads: usize| {
                let text = here.file(&format!("run{number}-{threads}/summary.json"));
                serde_json::from_slice::<serde_json::Value>(&text).unwrap()["splits"].clone()
            };
            assert_eq!(splits(1), splits(threads), "{}", line(threads));
        }
    }
}

#[test]
fn features_are_the_same_bytes_on_any_number_of_threads() {
    let here = Workplace::new();
    for family in [model(), model_of("vit")] {
        let written = [1, 2, 7].map(|threads| {
            let line = format!("features --model {family} --data data --out f{threads}.safetensors -q");
            // The other way to say how many.
            let output = here.command(&line).env("RAYON_NUM_THREADS", threads.to_string()).output().unwrap();
            assert!(output.status.success());
            here.file(&format!("f{threads}.safetensors"))
        });
        assert!(written[0] == written[1] && written[0] == written[2], "{family}");
    }
}
