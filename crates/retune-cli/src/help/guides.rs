//! The brief help of each command, as data.

/// What `retune COMMAND -h` shows.
pub struct Guide {
    /// The command.
    pub command: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// How it is typed.
    pub usage: &'static str,
    /// The options that most people use, by their names in the code, and what each does in a few words.
    pub options: &'static [(&'static str, &'static str)],
    /// Command lines, each with what it does.
    pub examples: &'static [(&'static str, &'static str)],
}

/// The groups of commands in the help of the program.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("Train", &["demo", "fit", "compare", "plan"]),
    ("Use and judge", &["predict", "eval", "report", "audit"]),
    ("Look inside", &["features", "umap", "cka", "models"]),
];

/// The other commands.
pub const OTHERS: &[&str] = &[
    "advise",
    "lr-find",
    "wise-ft",
    "soup",
    "export",
    "verify",
    "layers",
    "merge-features",
    "knn",
    "probe",
    "completions",
    "man",
];

/// What a newcomer types first.
pub const FIRST_STEPS: [(&str, &str); 3] = [
    ("retune demo", "try everything on embedded data, no download"),
    ("retune fit --model timm/resnet18.a1_in1k --data images --out run", "images/ has a folder for each class"),
    ("retune predict --model run photo.jpg", ""),
];

/// The guides, in the order of the commands.
pub const GUIDES: &[Guide] = &[
    Guide {
        command: "demo",
        about: "Try every method on embedded data",
        usage: "retune demo [OPTIONS]",
        options: &[("seed", "Random seed")],
        examples: &[("retune demo", "two tasks, every method, one to two minutes")],
    },
    Guide {
        command: "fit",
        about: "Fine-tune a model on your images",
        usage: "retune fit --model <MODEL> --data <PATH> --out <RUN> [OPTIONS]",
        options: &[
            ("model", "Folder, checkpoint, run, or hub name (retune models)"),
            ("data", "Class folders, .csv, Parquet, …, or hf:OWNER/NAME"),
            ("evaluations", "Another set to evaluate on; repeatable"),
            ("out", "Run directory to write"),
            ("method", "ft (default), lp, lp-ft, surgical, lora, …"),
            ("epochs", "Passes over the training images (default 10)"),
            ("lr", "Learning rate; of several, validation chooses one"),
            ("augment", "Augmentation: none (default), flip, standard, …"),
            ("config", "Take options from another run's run.toml"),
            ("resume", "Continue an interrupted run"),
        ],
        examples: &[
            ("retune fit --model timm/resnet18.a1_in1k --data images --out run", ""),
            ("retune fit --config run/run.toml --method ft --out run2", "another method"),
            ("retune fit --resume run", ""),
        ],
    },
    Guide {
        command: "advise",
        about: "Estimate which layers to tune",
        usage: "retune advise --model <MODEL> --data <PATH> [OPTIONS]",
        options: &[
            ("model", "Folder, checkpoint, run, or hub name"),
            ("data", "The images to adapt to; a few hundred are enough"),
            ("source", "Images like those that the model was trained on"),
            ("candidates", "Maximum number of candidates (default 6)"),
            ("trial_images", "Training images for each trial (default 500)"),
            ("trial_epochs", "Epochs of each trial (default 10)"),
            ("out", "Write the evidence to this .json file"),
        ],
        examples: &[
            ("retune advise --model run --data new_images", ""),
            ("retune advise --model run --data new_images --source old_images", ""),
        ],
    },
    Guide {
        command: "compare",
        about: "Compare methods and seeds on your images",
        usage: "retune compare --model <MODEL> --data <PATH> --out <DIR> [OPTIONS]",
        options: &[
            ("model", "Folder, checkpoint, run, or hub name (retune models)"),
            ("data", "Images, in any layout that `retune fit` takes"),
            ("evaluations", "Another set to evaluate on; repeatable"),
            ("out", "Directory to write; finished runs are not repeated"),
            ("methods", "Methods with commas (default lp,ft,lp-ft), or all"),
            ("seeds", "Number of seeds, or a list of them"),
            ("epochs", "Passes over the training images (default 10)"),
            ("lr", "Learning rate; of several, validation chooses one"),
            ("resume", "Continue an interrupted comparison"),
        ],
        examples: &[
            ("retune compare --model M --data images --methods lp,ft,lp-ft --out cmp", ""),
            ("retune compare --model M --data images --methods all --seeds 3 --out cmp", ""),
        ],
    },
    Guide {
        command: "plan",
        about: "Show what would train, and how long it would take",
        usage: "retune plan --model <MODEL> [OPTIONS]",
        options: &[
            ("model", "Folder, checkpoint, run, or hub name"),
            ("data", "Images, for an estimate of time and memory"),
            ("method", "The method (default ft)"),
            ("epochs", "Passes over the training images (default 10)"),
            ("lr", "Learning rate; of several, validation chooses one"),
            ("first", "First layer to tune, for methods that take layers"),
            ("last", "Last layer to tune"),
            ("toml", "Print a plan to edit and pass to `retune fit --plan`"),
        ],
        examples: &[
            ("retune plan --model timm/resnet18.a1_in1k --data images", ""),
            ("retune plan --model M --method surgical --first layer1 --last layer2 --toml", ""),
        ],
    },
    Guide {
        command: "lr-find",
        about: "Find a learning rate with the range test",
        usage: "retune lr-find --model <MODEL> --data <PATH> [OPTIONS]",
        options: &[
            ("model", "Folder, checkpoint, run, or hub name"),
            ("data", "Training images"),
            ("from", "First learning rate (default 1e-7)"),
            ("to", "Last learning rate (default 10)"),
            ("steps", "Number of steps, one batch each (default 100)"),
            ("groups", "Also test each stage alone"),
            ("out", "Write the curves to this folder"),
        ],
        examples: &[("retune lr-find --model timm/resnet18.a1_in1k --data images --out rates", "")],
    },
    Guide {
        command: "wise-ft",
        about: "Interpolate between the weights before and after a run",
        usage: "retune wise-ft <RUN> [OPTIONS]",
        options: &[
            ("run", "Finished run, the end of the line"),
            ("from", "Start of the line (default: the pretrained model)"),
            ("alphas", "Weights of the run in the average, with commas"),
            ("evaluations", "Another set to evaluate on; repeatable"),
            ("save_alpha", "Also write the model at this alpha, or at the best"),
            ("out", "Write the curve to this folder"),
        ],
        examples: &[("retune wise-ft run --out curve --save-alpha best", "")],
    },
    Guide {
        command: "soup",
        about: "Average the weights of several runs",
        usage: "retune soup <RUN>... --out <DIR> [OPTIONS]",
        options: &[
            ("runs", "Finished runs that started from the same weights"),
            ("greedy", "Leave out runs that lower accuracy on validation"),
            ("evaluations", "Another set to evaluate on; repeatable"),
            ("out", "Model directory to write"),
        ],
        examples: &[("retune soup cmp/runs/ft/seed-0 cmp/runs/ft/seed-1 --greedy --out soup", "")],
    },
    Guide {
        command: "report",
        about: "Write a page on one or more runs",
        usage: "retune report <RUN>... [OPTIONS]",
        options: &[
            ("runs", "Finished runs, or the directory of a comparison"),
            ("out", "Page to write (default: report.html in the run)"),
            ("similarities", "Add the result of `retune cka --out FILE.json`"),
        ],
        examples: &[("retune report run", ""), ("retune report run run2 --out both.html", "")],
    },
    Guide {
        command: "eval",
        about: "Measure accuracy on labeled images",
        usage: "retune eval --model <MODEL> --data <PATH> [OPTIONS]",
        options: &[
            ("model", "Run, folder, checkpoint, or hub name"),
            ("data", "Labeled images"),
            ("split", "Split to read, such as test (default: every image)"),
            ("evaluations", "Another set to evaluate on; repeatable"),
            ("per_class", "Also show recall and precision of every class"),
            ("against", "Also measure how far features moved from this model"),
            ("batch_size", "Images per batch (default 32)"),
            ("forward_precision", "float32 (default), bfloat16, or auto"),
            ("skip_bad", "Skip images that cannot be read, and list them"),
        ],
        examples: &[
            ("retune eval --model run --data new_images", ""),
            ("retune eval --model run --data images --split test --per-class", ""),
        ],
    },
    Guide {
        command: "verify",
        about: "Verify that finished runs are what they say",
        usage: "retune verify <RUN>...",
        options: &[("runs", "Run directories")],
        examples: &[("retune verify run", "")],
    },
    Guide {
        command: "predict",
        about: "Predict the classes of images",
        usage: "retune predict --model <MODEL> <IMAGE>... [OPTIONS]",
        options: &[
            ("images", "Image files, folders, or lists"),
            ("model", "Run, folder, checkpoint, or hub name"),
            ("top", "Number of classes to show for each image (default 5)"),
            ("out", "Write the predictions to this .csv or .json file"),
            ("temperature", "Temperature of the probabilities"),
            ("batch_size", "Images per batch (default 32)"),
            ("forward_precision", "float32 (default), bfloat16, or auto"),
        ],
        examples: &[
            ("retune predict --model run photo.jpg", ""),
            ("retune predict --model run photos/ --top 1 --out predictions.csv", ""),
        ],
    },
    Guide {
        command: "export",
        about: "Write a model for other runtimes, as ONNX",
        usage: "retune export <MODEL> [OPTIONS]",
        options: &[
            ("exported", "Run, folder, checkpoint, or hub name"),
            ("out", "File to write (default model.onnx)"),
            ("output", "logits (default), probabilities, or features"),
            ("with_preprocessing", "Take decoded images of any size"),
            ("opset", "Version of ONNX's operators (default 18)"),
        ],
        examples: &[
            ("retune export run --out model.onnx", ""),
            ("retune export run --with-preprocessing --output probabilities", ""),
        ],
    },
    Guide {
        command: "features",
        about: "Extract the features of images at a layer",
        usage: "retune features --model <MODEL> --data <PATH> --out <FILE> [OPTIONS]",
        options: &[
            ("model", "Run, folder, checkpoint, or hub name"),
            ("data", "Images"),
            ("split", "Split to read (default: every image)"),
            ("layer", "pooled (default), input, logits, or a block"),
            ("out", "File to write: .npz, .parquet, or .safetensors"),
            ("batch_size", "Images per batch (default 32)"),
            ("forward_precision", "float32 (default), bfloat16, or auto"),
            ("skip_bad", "Skip images that cannot be read, and list them"),
            ("shard", "Only part I/N of the images, for jobs that share them"),
        ],
        examples: &[("retune features --model run --data images --out features.npz", "")],
    },
    Guide {
        command: "merge-features",
        about: "Put the shards of an extraction together",
        usage: "retune merge-features <SHARD>... --out <FILE>",
        options: &[
            ("shards", "All files of `retune features --shard`"),
            ("out", "File to write: .npz, .parquet, or .safetensors"),
        ],
        examples: &[("retune merge-features part-*.npz --out features.npz", "")],
    },
    Guide {
        command: "knn",
        about: "Judge features by their nearest neighbors",
        usage: "retune knn --train <FILE> <FILE>... [OPTIONS]",
        options: &[
            ("features", "Features of the images to classify"),
            ("train", "Features of labeled images that vote"),
            ("k", "Number of neighbors that vote (default 20)"),
            ("temperature", "Temperature of the votes (default 0.07)"),
        ],
        examples: &[("retune knn --train train.npz test.npz", "")],
    },
    Guide {
        command: "probe",
        about: "Judge features by a linear probe",
        usage: "retune probe --train <FILE> [FILE]... [OPTIONS]",
        options: &[
            ("features", "Features of the images to evaluate on"),
            ("train", "Features of labeled images to fit to"),
            ("val", "Features that choose the penalty (default: held out)"),
            ("save", "File to write the head to: .safetensors"),
            ("select", "Metric that chooses (default accuracy)"),
        ],
        examples: &[("retune probe --train train.npz test.npz --save head.safetensors", "")],
    },
    Guide {
        command: "umap",
        about: "Map features in two dimensions",
        usage: "retune umap --model <MODEL> --data <PATH> --out <FILE> [OPTIONS]",
        options: &[
            ("model", "Run, folder, checkpoint, or hub name"),
            ("data", "Images"),
            ("features", "Files of `retune features`, instead of images"),
            ("layer", "pooled (default), input, logits, or a block"),
            ("neighbors", "Size of a neighborhood (default 15)"),
            ("color", "class (default), split, file, prediction, …"),
            ("out", "File to write: .html, .png, .svg, .csv, or .json"),
        ],
        examples: &[
            ("retune umap --model run --data images --out map.html", ""),
            ("retune umap --features before.npz after.npz --color file --out map.png", ""),
        ],
    },
    Guide {
        command: "cka",
        about: "Compare representations across filters, layers, or models",
        usage: "retune cka --model <MODEL> --data <PATH> [OPTIONS]",
        options: &[
            ("model", "Run, folder, checkpoint, or hub name"),
            ("data", "Images"),
            ("against", "Compare layers with those of another model"),
            ("layers", "Compare the model's layers with each other"),
            ("interpolations", "Resampling filters to compare (default: all)"),
            ("layer", "Layers, with commas, or all"),
            ("max_images", "Compare at most this many images"),
            ("out", "Write .html, .png, .svg, .json, or .csv"),
        ],
        examples: &[
            ("retune cka --model run --data images --out filters.html", "resampling filters"),
            ("retune cka --model run --against timm/resnet18.a1_in1k --data images", "what changed"),
        ],
    },
    Guide {
        command: "audit",
        about: "Measure what other preprocessing would change",
        usage: "retune audit --model <MODEL> --data <PATH> [OPTIONS]",
        options: &[
            ("model", "Run, folder, checkpoint, or hub name"),
            ("data", "Labeled images"),
            ("interpolations", "Resampling filters to try (default: all)"),
            ("sizes", "Other input sizes to try, with commas"),
            ("crop_pcts", "Other crop fractions to try, with commas"),
            ("max_images", "Use at most this many images"),
            ("out", "Write .html, .png, .svg, .json, or .csv"),
        ],
        examples: &[
            ("retune audit --model run --data images --out audit.html", ""),
            ("retune audit --model run --data images --sizes 192,288 --crop-pcts 0.9,1", ""),
        ],
    },
    Guide {
        command: "layers",
        about: "List a model's stages and blocks",
        usage: "retune layers --model <MODEL> [OPTIONS]",
        options: &[
            ("model", "Folder, checkpoint, run, or hub name"),
            ("arch", "Architecture, with --from-scratch instead of --model"),
            ("from_scratch", "Start from random weights"),
            ("tensors", "List the parameter tensors"),
        ],
        examples: &[("retune layers --arch resnet18 --from-scratch", "")],
    },
    Guide {
        command: "models",
        about: "List architectures and their weights on the hub",
        usage: "retune models [FILTER]",
        options: &[("filter", "Part of a name, or a pattern with *")],
        examples: &[("retune models", ""), ("retune models vit_small*", "")],
    },
    Guide {
        command: "completions",
        about: "Print a shell completion script",
        usage: "retune completions <SHELL>",
        options: &[("shell", "bash, elvish, fish, powershell, or zsh")],
        examples: &[("retune completions bash > ~/.local/share/bash-completion/completions/retune", "")],
    },
    Guide {
        command: "man",
        about: "Print the manual page",
        usage: "retune man [OPTIONS]",
        options: &[("out", "Write a page for each command to this folder")],
        examples: &[("retune man | man -l -", ""), ("retune man --out ~/.local/share/man/man1", "")],
    },
];
