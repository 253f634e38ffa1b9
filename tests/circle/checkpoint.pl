#!/usr/bin/env perl
# SPDX-License-Identifier: MIT
# checkpoint.pl DIR [VOCABULARY]: a Llama of two tiny blocks with made-up weights, as Hugging Face
# stores it.
use strict;
use warnings;

my ($dir, $vocab) = (@ARGV, 64);
my ($hidden, $inner, $layers, $kv) = (64, 128, 2, 32);
my $state = 1;

# About N(0, 0.02^2): the sum of four uniform numbers.
sub weight {
  my $sum = 0;
  for (1 .. 4) {
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    $sum += $state / 0x80000000 - 0.5;
  }
  return $sum * 0.035;
}

my @tensors = (["model.embed_tokens.weight", $vocab, $hidden]);
for my $l (0 .. $layers - 1) {
  my $block = "model.layers.$l";
  push @tensors, ["$block.self_attn.q_proj.weight", $hidden, $hidden],
    ["$block.self_attn.k_proj.weight", $kv, $hidden],
    ["$block.self_attn.v_proj.weight", $kv, $hidden],
    ["$block.self_attn.o_proj.weight", $hidden, $hidden],
    ["$block.mlp.gate_proj.weight", $inner, $hidden],
    ["$block.mlp.up_proj.weight", $inner, $hidden],
    ["$block.mlp.down_proj.weight", $hidden, $inner],
    ["$block.input_layernorm.weight", $hidden],
    ["$block.post_attention_layernorm.weight", $hidden];
}
push @tensors, ["model.norm.weight", $hidden], ["lm_head.weight", $vocab, $hidden];

my ($header, $data, $at) = ("", "", 0);
for (@tensors) {
  my ($name, @shape) = @$_;
  my $n = 1;
  $n *= $_ for @shape;
  $data .= pack("f<*", map { @shape == 1 ? 1 : weight() } 1 .. $n);
  $header .= sprintf('%s"%s":{"dtype":"F32","shape":[%s],"data_offsets":[%d,%d]}',
    $header ? "," : "", $name, join(",", @shape), $at, $at + 4 * $n);
  $at += 4 * $n;
}
$header = "{$header}";
$header .= " " while length($header) % 8;
open my $f, ">:raw", "$dir/model.safetensors" or die "$dir: $!";
print $f pack("Q<", length $header), $header, $data;
close $f or die;
open my $c, ">", "$dir/config.json" or die "$dir: $!";
print $c qq({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": $hidden,
 "intermediate_size": $inner, "num_hidden_layers": $layers, "num_attention_heads": 2,
 "num_key_value_heads": 1, "head_dim": $kv, "vocab_size": $vocab, "tie_word_embeddings": false});
close $c or die;
