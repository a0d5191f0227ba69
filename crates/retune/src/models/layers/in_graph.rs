//! The layers as operations of a [`Graph`], in evaluation: what a layer's `forward` computes by running statistics.

use super::{ActivationFunction, BatchNorm, Classifier, Conv2d, ConvNorm, LayerNorm, Linear};
use crate::models::graph::{Graph, Value};
use crate::models::parameters::ParameterId;

impl ActivationFunction {
    pub fn export(self, x: Value, graph: &mut Graph) -> Value {
        graph.activation(x, self)
    }
}

impl Conv2d {
    pub fn export(&self, x: Value, graph: &mut Graph) -> Value {
        graph.convolution(x, self.weight, self.bias, self.shape)
    }
}

impl BatchNorm {
    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let parameters = [self.weight, self.bias, self.running_mean, self.running_variance];
        graph.batch_norm(x, parameters, self.epsilon)
    }
}

impl ConvNorm {
    pub fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let x = self.conv.export(x, graph);
        self.norm.export(x, graph)
    }

    pub fn export_activated(&self, x: Value, activation: ActivationFunction, graph: &mut Graph) -> Value {
        let x = self.export(x, graph);
        activation.export(x, graph)
    }

    /// `activation(norm(convolution(x)) + residual)`.
    pub fn export_onto(&self, x: Value, residual: Value, activation: ActivationFunction, graph: &mut Graph) -> Value {
        let x = self.export(x, graph);
        let sum = graph.add(x, residual);
        activation.export(sum, graph)
    }
}

impl LayerNorm {
    pub fn export(&self, x: Value, graph: &mut Graph) -> Value {
        graph.layer_norm(x, self.weight, self.bias, self.epsilon)
    }
}

impl Linear {
    pub fn export(&self, x: Value, graph: &mut Graph) -> Value {
        graph.linear(x, self.weight, self.bias, (self.inputs, self.outputs))
    }

    /// `residual + layer_scale · linear(x)`; without a scale, it is 1.
    pub fn export_onto(&self, x: Value, residual: Value, layer_scale: Option<ParameterId>, graph: &mut Graph) -> Value {
        let x = self.export(x, graph);
        let branch = graph.scale(x, layer_scale);
        graph.add(residual, branch)
    }
}

impl Classifier {
    pub fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let pooled = graph.pool(x);
        match &self.linear {
            Some(linear) => linear.export(pooled, graph),
            None => pooled,
        }
    }
}
