use super::*;

fn translated(config: Value) -> Value {
    to_timm(&config, None).unwrap()
}

/// Whole-size configurations, as the hub has them, are the architectures that timm has for the same weights.
#[test]
fn whole_models_are_timms_by_name() {
    let task = |name: &str| json!([name]);
    for (config, architecture, args) in [
        (
            json!({"model_type": "vit", "architectures": task("ViTForImageClassification"), "hidden_size": 768,
                   "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "image_size": 224,
                   "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "qkv_bias": true}),
            "vit_base_patch16_224",
            json!({"img_size": [224, 224]}),
        ),
        (
            json!({"model_type": "vit", "architectures": task("ViTModel"), "hidden_size": 384,
                   "num_attention_heads": 6, "intermediate_size": 1536, "image_size": 384, "patch_size": 16}),
            "vit_small_patch16_224",
            json!({"img_size": [384, 384]}),
        ),
        (
            json!({"model_type": "resnet", "hidden_sizes": [64, 128, 256, 512], "depths": [3, 4, 6, 3],
                   "layer_type": "basic"}),
            "resnet34",
            json!({}),
        ),
        (json!({"model_type": "resnet"}), "resnet50", json!({})),
        (json!({"model_type": "resnet", "depths": [3, 4, 23, 3]}), "resnet101", json!({})),
        (json!({"model_type": "convnext"}), "convnext_tiny", json!({})),
        (
            json!({"model_type": "convnext", "hidden_sizes": [128, 256, 512, 1024], "depths": [3, 3, 27, 3]}),
            "convnext_base",
            json!({}),
        ),
        (
            json!({"model_type": "dinov2", "hidden_size": 384, "num_attention_heads": 6, "image_size": 518}),
            "vit_small_patch14_dinov2",
            json!({"img_size": [518, 518]}),
        ),
    ] {
        let document = translated(config);
        assert_eq!(document["architecture"], architecture);
        assert_eq!(document["model_args"], args, "{architecture}");
    }
}

#[test]
fn an_epsilon_that_timm_has_not_is_kept_apart_from_timms_arguments() {
    let document = translated(json!({"model_type": "vit", "layer_norm_eps": 1e-12}));
    assert_eq!(document["retune"], json!({"model_args": {"norm_eps": 1e-12}}));
    let document = translated(json!({"model_type": "convnext", "layer_norm_eps": 1e-12}));
    assert_eq!(document["retune"], json!({"model_args": {"head_norm_eps": 1e-12}}));
    let document = translated(json!({"model_type": "dinov2", "layer_norm_eps": 1e-6}));
    assert_eq!(document.get("retune"), None);
}

#[test]
fn classes_are_counted_as_transformers_counts_them() {
    let classifier = |more: Value| {
        let mut config = json!({"model_type": "resnet", "architectures": ["ResNetForImageClassification"]});
        config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        translated(config)["num_classes"].clone()
    };
    assert_eq!(classifier(json!({})), 2);
    assert_eq!(classifier(json!({"num_labels": 7})), 7);
    assert_eq!(classifier(json!({"id2label": {"0": "a", "1": "b", "2": "c"}})), 3);
    assert_eq!(translated(json!({"model_type": "resnet", "architectures": ["ResNetModel"]}))["num_classes"], 0);
}

#[test]
fn class_names_are_in_the_order_of_their_indices() {
    let labels: Map<String, Value> = (0..12).map(|index| (index.to_string(), format!("name {index}").into())).collect();
    // The file's own order is that of text: 0, 1, 10, 11, 2, …
    let names = labels::names(&json!({ "id2label": labels })).unwrap().unwrap();
    assert_eq!(names[2], "name 2");
    assert_eq!(names[11], "name 11");
    for wrong in [json!({"0": "a", "2": "b"}), json!({"0": "a", "00": "b"}), json!({"x": "a"}), json!({"0": 1})] {
        assert!(labels::names(&json!({ "id2label": wrong })).is_err());
    }
}

#[test]
fn a_hidden_width_is_what_timm_computes_from_its_ratio() {
    for width in [8u64, 192, 384, 1408, 1536] {
        for hidden in (1..=4 * width).step_by(7) {
            assert_eq!((width as f64 * ratio(hidden, width)) as u64, hidden, "{width} {hidden}");
        }
    }
}

mod preprocessor {
    use super::*;
    use crate::models::transformers::preprocessing::{Processor, to_timm};

    fn geometry(file: Value, processor: Processor) -> (Value, Value, Value) {
        let cfg = to_timm(&file, processor, [224, 224]).unwrap();
        (cfg["input_size"].clone(), cfg["crop_pct"].clone(), cfg["crop_mode"].clone())
    }

    /// What the hub's files say in their several ways: microsoft/resnet-50, facebook/convnext-tiny-224,
    /// facebook/convnext-base-384, google/vit-base-patch16-224 (old and new), facebook/dinov2-base,
    /// facebook/deit-base-patch16-224.
    #[test]
    fn sizes_mean_what_they_mean_to_each_processor() {
        let square = |side: u64| json!([3, side, side]);
        for (file, processor, expected) in [
            (
                json!({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875}),
                Processor::ViT,
                (square(224), json!(0.875), json!("center")),
            ),
            (
                json!({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}}),
                Processor::ConvNeXt,
                (square(384), json!(1.0), json!("squash")),
            ),
            (
                json!({"feature_extractor_type": "ViTFeatureExtractor", "do_resize": true, "size": 224}),
                Processor::ViT,
                (square(224), json!(1.0), json!("squash")),
            ),
            (
                json!({"image_processor_type": "ViTImageProcessorFast", "size": {"height": 192, "width": 224}}),
                Processor::ViT,
                (json!([3, 192, 224]), json!(1.0), json!("squash")),
            ),
            (
                json!({"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256},
                       "crop_size": {"height": 224, "width": 224}, "do_center_crop": true}),
                Processor::Bit,
                (square(224), json!(0.875), json!("center")),
            ),
            (
                json!({"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224,
                       "do_center_crop": true}),
                Processor::ViT,
                (square(224), json!(0.875), json!("squash")),
            ),
            (json!({"do_resize": false}), Processor::ViT, (square(224), json!(1.0), json!("squash"))),
        ] {
            assert_eq!(geometry(file.clone(), processor), expected, "{file}");
        }
    }

    /// timm divides the crop by its fraction and rounds down; that must give the side back, whatever the two are.
    #[test]
    fn the_fraction_gives_the_resized_side_back() {
        for side in 1..600u64 {
            for crop in (1..=side).step_by(13) {
                let file = json!({"size": {"shortest_edge": side}, "crop_size": crop});
                let Ok(cfg) = to_timm(&file, Processor::Bit, [224, 224]) else { continue };
                let fraction = cfg["crop_pct"].as_f64().unwrap();
                assert_eq!((crop as f64 / fraction) as u64, side, "{crop} of {side}");
            }
        }
    }

    #[test]
    fn filters_are_pillows_by_number() {
        for (number, name) in
            [(0, "nearest"), (1, "lanczos"), (2, "bilinear"), (3, "bicubic"), (4, "box"), (5, "hamming")]
        {
            let cfg = to_timm(&json!({ "resample": number }), Processor::ViT, [224, 224]).unwrap();
            assert_eq!(cfg["interpolation"], name);
        }
    }

    #[test]
    fn values_that_mean_nothing_are_refused_by_name() {
        for (file, told) in [
            (json!({"resample": 9}), "'resample'"),
            (json!({"size": {"longest_edge": 3}}), "'size'"),
            (json!({"size": 0}), "'size'"),
            (json!({"image_mean": [0.5, 0.5]}), "'image_mean'"),
            (json!({"do_normalize": "yes"}), "'do_normalize'"),
            (json!({"rescale_factor": 0.5}), "'do_rescale'"),
            (json!({"do_rescale": false}), "'do_rescale'"),
            (json!({"crop_pct": 7, "size": 32, "image_processor_type": "ConvNextImageProcessor"}), "'crop_pct'"),
            (json!({"size": {"shortest_edge": 10}, "crop_size": 20, "do_center_crop": true}), "'crop_size'"),
        ] {
            let processor = if told == "'crop_size'" { Processor::Bit } else { Processor::ViT };
            let error = to_timm(&file, processor, [224, 224]).unwrap_err();
            assert!(error.contains(told), "{file}: {error}");
        }
        let unscaled = to_timm(&json!({"do_normalize": false}), Processor::ViT, [224, 224]).unwrap();
        assert_eq!(
            (unscaled["mean"].clone(), unscaled["std"].clone()),
            (json!([0.0, 0.0, 0.0]), json!([1.0, 1.0, 1.0]))
        );
    }
}
