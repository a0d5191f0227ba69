//! Vision transformers: Dosovitskiy et al. 2021 (arXiv 2010.11929); DeiT III (arXiv 2204.07118);
//! CLIP's pre-norm and quick-GELU (arXiv 2103.00020); DINOv2's layer scale (arXiv 2304.07193) and
//! registers (arXiv 2309.16588). Parameter names and numerics follow timm's
//! `vision_transformer.py`.
//!
//! Chain: `stem → blocks.0 → … → blocks.n → norm → head`. The stem gives tokens, the norm block
//! ends with pooled features.

use burn::tensor::Tensor;
use retune_kernels::operators::{attention, attention_of};
use serde::Deserialize;

use super::{FamilyConfig, ImageSizes, check_depth, check_sizes};
use crate::models::chain::{Activation, Block, Chain, Neighbor};
use crate::models::dropping::depth_share;
use crate::models::graph::{Graph, Value};
use crate::models::layers::{
    ActivationFunction, Branch, Classifier, Conv2d, ConvShape, LayerNorm, Linear, Padding, Pass,
};
use crate::models::parameters::{Initialization, ParameterBuilder, ParameterId, Role};
use crate::models::position_embedding::PositionGrid;

/// timm's arguments of a vision transformer (its names and defaults).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ViTConfig {
    pub img_size: ImageSize,
    pub patch_size: usize,
    pub embed_dim: usize,
    pub depth: usize,
    pub num_heads: usize,
    pub mlp_ratio: f64,
    pub qkv_bias: bool,
    pub qk_norm: bool,
    /// Initial layer scale; without it there is none.
    pub init_values: Option<f32>,
    pub class_token: bool,
    /// The position embedding does not cover class and register tokens.
    pub no_embed_class: bool,
    pub reg_tokens: usize,
    pub global_pool: Pooling,
    /// Normalize before the first block (CLIP).
    pub pre_norm: bool,
    pub final_norm: bool,
    /// Normalize the pooled features instead of the tokens; by default where the pooling averages.
    pub fc_norm: Option<bool>,
    pub norm_eps: f64,
    pub act_layer: ActivationFunction,
    /// Channels of its images.
    pub in_chans: usize,
    pub num_classes: usize,
}

impl Default for ViTConfig {
    fn default() -> Self {
        Self {
            img_size: ImageSize::Square(224),
            patch_size: 16,
            embed_dim: 768,
            depth: 12,
            num_heads: 12,
            mlp_ratio: 4.0,
            qkv_bias: true,
            qk_norm: false,
            init_values: None,
            class_token: true,
            no_embed_class: false,
            reg_tokens: 0,
            global_pool: Pooling::Token,
            pre_norm: false,
            final_norm: true,
            fc_norm: None,
            norm_eps: 1e-6,
            act_layer: ActivationFunction::Gelu,
            in_chans: 3,
            num_classes: 1000,
        }
    }
}

impl FamilyConfig for ViTConfig {
    const TAKES_IMAGE_SIZE: bool = true;
    const TAKES_GLOBAL_POOL: bool = true;

    fn check(&self) -> Result<(), String> {
        let (height, width) = self.img_size.height_and_width();
        check_sizes([
            ("in_chans", self.in_chans),
            ("patch_size", self.patch_size),
            ("embed_dim", self.embed_dim),
            ("reg_tokens + 1", self.reg_tokens.saturating_add(1)),
            ("num_heads", self.num_heads),
            ("image height / patch_size", (height / self.patch_size.max(1)).max(1)),
            ("image width / patch_size", (width / self.patch_size.max(1)).max(1)),
            ("embed_dim × mlp_ratio", (self.embed_dim as f64 * self.mlp_ratio) as usize),
        ])?;
        check_depth([self.depth])?;
        if !self.embed_dim.is_multiple_of(self.num_heads) {
            return Err(format!("embed_dim {} is not a multiple of num_heads {}", self.embed_dim, self.num_heads));
        }
        if self.global_pool == Pooling::Token && !self.class_token {
            return Err("global_pool \"token\" needs a class_token".into());
        }
        Ok(())
    }

    fn chain(&self, builder: &mut ParameterBuilder) -> Box<dyn Chain> {
        Box::new(ViT::new(self, builder))
    }

    fn image_sizes(&self) -> ImageSizes {
        let required = Some(self.img_size.height_and_width());
        ImageSizes { required, patch: Some(self.patch_size), ..ImageSizes::default() }
    }

    fn position_grid(&self) -> Option<PositionGrid> {
        Some(self.positions())
    }
}

impl ViTConfig {
    /// Class and register tokens in front of the patches.
    fn prefix_tokens(&self) -> usize {
        usize::from(self.class_token) + self.reg_tokens
    }

    /// The layout of the position embedding.
    fn positions(&self) -> PositionGrid {
        let (height, width) = self.img_size.height_and_width();
        PositionGrid {
            prefix: if self.no_embed_class { 0 } else { self.prefix_tokens() },
            rows: height / self.patch_size,
            columns: width / self.patch_size,
            from: None,
        }
    }

    fn normalizes_pooled(&self) -> bool {
        self.final_norm && self.fc_norm.unwrap_or(self.global_pool == Pooling::Average)
    }
}

/// One side of a square, or height and width.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ImageSize {
    Square(usize),
    Rectangle([usize; 2]),
}

impl ImageSize {
    pub fn height_and_width(self) -> (usize, usize) {
        match self {
            Self::Square(side) => (side, side),
            Self::Rectangle([height, width]) => (height, width),
        }
    }
}

/// How tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Pooling {
    #[serde(rename = "token")]
    Token,
    #[serde(rename = "avg")]
    Average,
}

/// A vision transformer as a chain of blocks.
pub(crate) struct ViT {
    blocks: Vec<Block>,
    stem: Stem,
    encoder: Vec<EncoderBlock>,
    pool: Pool,
    head: Classifier,
}

impl ViT {
    pub fn new(config: &ViTConfig, builder: &mut ParameterBuilder) -> Self {
        let mut blocks = vec![Block::alone("stem")];
        builder.enter_block(0);
        let stem = Stem::new(config, builder);

        let mut encoder = Vec::new();
        for index in 0..config.depth {
            let name = format!("blocks.{index}");
            builder.enter_block(blocks.len());
            encoder.push(builder.within(name.as_str(), |builder| EncoderBlock::new(config, builder, index)));
            blocks.push(Block::alone(name));
        }

        builder.enter_block(blocks.len());
        let pool = Pool::new(config, builder);
        // timm counts a norm of tokens with the last block, and one of pooled features with the head.
        let neighbor = if config.normalizes_pooled() { Neighbor::Next } else { Neighbor::Previous };
        blocks.push(Block::alone("norm").joining(neighbor));

        builder.enter_block(blocks.len());
        let head = Classifier::new(builder, "head", config.embed_dim, config.num_classes);
        blocks.push(Block::alone("head"));
        Self { blocks, stem, encoder, pool, head }
    }
}

impl Chain for ViT {
    fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn forward_block(&self, block: usize, x: Activation, pass: &mut Pass) -> Activation {
        let encoder_end = self.encoder.len() + 1;
        match block {
            0 => Activation::Tokens(self.stem.forward(x.into_map(), pass)),
            block if block < encoder_end => Activation::Tokens(self.encoder[block - 1].forward(x.into_tokens(), pass)),
            block if block == encoder_end => Activation::Vector(self.pool.forward(x.into_tokens(), pass)),
            _ => self.head.forward(x, pass),
        }
    }

    fn export_block(&self, block: usize, x: Value, graph: &mut Graph) -> Value {
        let encoder_end = self.encoder.len() + 1;
        match block {
            0 => self.stem.export(x, graph),
            block if block < encoder_end => self.encoder[block - 1].export(x, graph),
            block if block == encoder_end => self.pool.export(x, graph),
            _ => self.head.export(x, graph),
        }
    }

    fn class_token_and_mean(&self, x: &Activation, pass: &Pass) -> Option<Tensor<2>> {
        let has_token = self.has_class_token();
        has_token.then(|| self.pool.class_token_and_mean(x.clone().into_tokens(), pass))
    }

    fn has_class_token(&self) -> bool {
        self.stem.class_token.is_some()
    }
}

/// Patches to tokens, class and register tokens, position embedding.
struct Stem {
    projection: Conv2d,
    class_token: Option<ParameterId>,
    register_tokens: Option<ParameterId>,
    registers: usize,
    position_embedding: ParameterId,
    /// Tokens that the position embedding covers.
    positions: usize,
    embeds_prefix: bool,
    norm: Option<LayerNorm>,
    width: usize,
}

impl Stem {
    fn new(config: &ViTConfig, builder: &mut ParameterBuilder) -> Self {
        let width = config.embed_dim;
        let mut embedding = |name: &str, tokens: usize, deviation: f32| {
            let initialization = Initialization::TruncatedNormal(deviation);
            builder.parameter(name, &[1, tokens, width], Role::Embedding, initialization)
        };
        let class_token = config.class_token.then(|| embedding("cls_token", 1, 1e-6));
        let register_tokens = (config.reg_tokens > 0).then(|| embedding("reg_token", config.reg_tokens, 1e-6));
        let grid = config.positions();
        let positions = grid.prefix + grid.rows * grid.columns;
        let position_embedding = embedding("pos_embed", positions, 0.02);

        let patch = config.patch_size;
        let shape = ConvShape::new(config.in_chans, width, patch).stride(patch).padding(Padding::Symmetric(0));
        let projection = builder.within("patch_embed", |builder| Conv2d::new(builder, "proj", shape, !config.pre_norm));
        let norm = config.pre_norm.then(|| LayerNorm::new(builder, "norm_pre", width, config.norm_eps));
        Self {
            projection,
            class_token,
            register_tokens,
            registers: config.reg_tokens,
            position_embedding,
            positions,
            embeds_prefix: !config.no_embed_class,
            norm,
            width,
        }
    }

    fn forward(&self, image: Tensor<4>, pass: &Pass) -> Tensor<3> {
        let patches = self.projection.forward(image, pass).flatten::<3>(1, 2);
        let position = pass.get(self.position_embedding, [1, self.positions, self.width]);
        let x = if self.embeds_prefix {
            self.with_prefix(patches, pass) + position
        } else {
            self.with_prefix(patches + position, pass)
        };
        match &self.norm {
            Some(norm) => norm.forward(x, pass),
            None => x,
        }
    }

    fn with_prefix(&self, patches: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let [batch, _, width] = patches.dims();
        let mut parts = Vec::with_capacity(3);
        for (token, count) in [(self.class_token, 1), (self.register_tokens, self.registers)] {
            if let Some(token) = token {
                parts.push(pass.get(token, [1, count, width]).repeat_dim(0, batch));
            }
        }
        parts.push(patches);
        Tensor::cat(parts, 1)
    }

    fn export(&self, image: Value, graph: &mut Graph) -> Value {
        let maps = self.projection.export(image, graph);
        let patches = graph.tokens(maps);
        let x = if self.embeds_prefix {
            let tokens = self.export_prefix(patches, graph);
            graph.add_embedding(tokens, self.position_embedding)
        } else {
            let patches = graph.add_embedding(patches, self.position_embedding);
            self.export_prefix(patches, graph)
        };
        match &self.norm {
            Some(norm) => norm.export(x, graph),
            None => x,
        }
    }

    /// The class token comes before the register tokens.
    fn export_prefix(&self, patches: Value, graph: &mut Graph) -> Value {
        let tokens = [(self.register_tokens, self.registers), (self.class_token, 1)];
        tokens.into_iter().fold(patches, |x, (tokens, count)| match tokens {
            Some(tokens) => graph.prepend(x, tokens, count),
            None => x,
        })
    }
}

/// Pre-norm transformer block with optional layer scale.
struct EncoderBlock {
    norm1: LayerNorm,
    attention: Attention,
    scale1: Option<ParameterId>,
    norm2: LayerNorm,
    mlp: Mlp,
    scale2: Option<ParameterId>,
    /// Part of the rate of stochastic depth.
    drop_share: f64,
}

impl EncoderBlock {
    fn new(config: &ViTConfig, builder: &mut ParameterBuilder, index: usize) -> Self {
        let (width, epsilon) = (config.embed_dim, config.norm_eps);
        let layer_scale = |builder: &mut ParameterBuilder, name: &str| {
            config.init_values.map(|value| {
                let initialization = Initialization::Constant(value);
                builder.within(name, |builder| builder.parameter("gamma", &[width], Role::LayerScale, initialization))
            })
        };
        Self {
            norm1: LayerNorm::new(builder, "norm1", width, epsilon),
            attention: builder.within("attn", |builder| Attention::new(config, builder)),
            scale1: layer_scale(builder, "ls1"),
            norm2: LayerNorm::new(builder, "norm2", width, epsilon),
            mlp: builder.within("mlp", |builder| Mlp::new(config, builder)),
            scale2: layer_scale(builder, "ls2"),
            drop_share: depth_share(index, config.depth),
        }
    }

    fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let branch = |number| Branch { share: self.drop_share, number };
        let mixed = self.attention.forward(self.norm1.forward(x.clone(), pass), pass);
        let x = self.attention.projection.forward_onto(mixed, x, self.scale1, branch(0), pass);
        let hidden = self.mlp.forward(self.norm2.forward(x.clone(), pass), pass);
        self.mlp.fc2.forward_onto(hidden, x, self.scale2, branch(1), pass)
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let normalized = self.norm1.export(x, graph);
        let mixed = self.attention.export(normalized, graph);
        let x = self.attention.projection.export_onto(mixed, x, self.scale1, graph);
        let normalized = self.norm2.export(x, graph);
        let hidden = self.mlp.export(normalized, graph);
        self.mlp.fc2.export_onto(hidden, x, self.scale2, graph)
    }
}

/// Multi-head self-attention.
struct Attention {
    qkv: Linear,
    /// Normalization of queries and keys in each head.
    query_key_norm: Option<(LayerNorm, LayerNorm)>,
    projection: Linear,
    heads: usize,
}

impl Attention {
    fn new(config: &ViTConfig, builder: &mut ParameterBuilder) -> Self {
        let (width, heads) = (config.embed_dim, config.num_heads);
        Self {
            qkv: Linear::new(builder, "qkv", (width, 3 * width), config.qkv_bias),
            query_key_norm: config.qk_norm.then(|| {
                let mut norm = |name| LayerNorm::new(builder, name, width / heads, config.norm_eps);
                (norm("q_norm"), norm("k_norm"))
            }),
            projection: Linear::new(builder, "proj", (width, width), true),
            heads,
        }
    }

    /// The heads' outputs side by side, before the projection.
    fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let head_width = width / self.heads;
        let qkv = self.qkv.forward(x, pass).reshape([batch, tokens, 3, self.heads, head_width]);
        let Some((query_norm, key_norm)) = &self.query_key_norm else { return attention(qkv) };
        // [batch, tokens, 3, heads, head_width] → three of [batch, heads, tokens, head_width].
        let part = |index: usize| {
            qkv.clone()
                .slice([0..batch, 0..tokens, index..index + 1, 0..self.heads, 0..head_width])
                .reshape([batch, tokens, self.heads, head_width])
                .swap_dims(1, 2)
        };
        attention_of(query_norm.forward(part(0), pass), key_norm.forward(part(1), pass), part(2))
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let qkv = self.qkv.export(x, graph);
        let [query, key, value] = graph.heads(qkv, self.heads);
        let (query, key) = match &self.query_key_norm {
            Some((query_norm, key_norm)) => (query_norm.export(query, graph), key_norm.export(key, graph)),
            None => (query, key),
        };
        graph.attention([query, key, value])
    }
}

/// Two linear layers with a nonlinearity between them.
struct Mlp {
    fc1: Linear,
    activation: ActivationFunction,
    fc2: Linear,
}

impl Mlp {
    fn new(config: &ViTConfig, builder: &mut ParameterBuilder) -> Self {
        let width = config.embed_dim;
        let hidden = (width as f64 * config.mlp_ratio) as usize;
        Self {
            fc1: Linear::new(builder, "fc1", (width, hidden), true),
            activation: config.act_layer,
            fc2: Linear::new(builder, "fc2", (hidden, width), true),
        }
    }

    /// The hidden layer, before `fc2`.
    fn forward(&self, x: Tensor<3>, pass: &Pass) -> Tensor<3> {
        self.activation.apply(self.fc1.forward(x, pass))
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let x = self.fc1.export(x, graph);
        self.activation.export(x, graph)
    }
}

/// Final normalization and pooling, in the order that the configuration asks for.
struct Pool {
    token_norm: Option<LayerNorm>,
    pooling: Pooling,
    prefix: usize,
    pooled_norm: Option<LayerNorm>,
}

impl Pool {
    fn new(config: &ViTConfig, builder: &mut ParameterBuilder) -> Self {
        let mut norm =
            |name: &str, wanted: bool| wanted.then(|| LayerNorm::new(builder, name, config.embed_dim, config.norm_eps));
        Self {
            token_norm: norm("norm", config.final_norm && !config.normalizes_pooled()),
            pooling: config.global_pool,
            prefix: config.prefix_tokens(),
            pooled_norm: norm("fc_norm", config.normalizes_pooled()),
        }
    }

    fn forward(&self, tokens: Tensor<3>, pass: &Pass) -> Tensor<2> {
        let tokens = self.normalized(tokens, pass);
        self.pooled(tokens, self.pooling, pass)
    }

    /// Both poolings side by side, the class token first.
    fn class_token_and_mean(&self, tokens: Tensor<3>, pass: &Pass) -> Tensor<2> {
        let tokens = self.normalized(tokens, pass);
        let pooled = |pooling| self.pooled(tokens.clone(), pooling, pass);
        Tensor::cat(vec![pooled(Pooling::Token), pooled(Pooling::Average)], 1)
    }

    fn normalized(&self, tokens: Tensor<3>, pass: &Pass) -> Tensor<3> {
        match &self.token_norm {
            Some(norm) => norm.forward(tokens, pass),
            None => tokens,
        }
    }

    fn pooled(&self, tokens: Tensor<3>, pooling: Pooling, pass: &Pass) -> Tensor<2> {
        let [batch, count, width] = tokens.dims();
        let pooled = match pooling {
            Pooling::Token => tokens.narrow(1, 0, 1).reshape([batch, width]),
            Pooling::Average => tokens.narrow(1, self.prefix, count - self.prefix).mean_dim(1).reshape([batch, width]),
        };
        match &self.pooled_norm {
            Some(norm) => norm.forward(pooled, pass),
            None => pooled,
        }
    }

    fn export(&self, tokens: Value, graph: &mut Graph) -> Value {
        let tokens = match &self.token_norm {
            Some(norm) => norm.export(tokens, graph),
            None => tokens,
        };
        let pooled = match self.pooling {
            Pooling::Token => graph.token(tokens, 0),
            Pooling::Average => graph.mean_token(tokens, self.prefix),
        };
        match &self.pooled_norm {
            Some(norm) => norm.export(pooled, graph),
            None => pooled,
        }
    }
}
