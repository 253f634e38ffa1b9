#!/usr/bin/env perl
# SPDX-License-Identifier: MIT
# wild_checkpoint.pl DIR [KIND...]: a Llama of one tiny block, as it is met in the wild.
#   bare       tensors of the base class: no "model." before their names
#   score      of a classifier: no lm_head, and a tensor 'score'
#   null       "__metadata__": null
#   extra      a field beside dtype, shape and data_offsets
#   narrow     tensors of types that are passed through: F8_E8M0, F4, C64
#   tiny       weights of about 1e-30
#   zero, odd  and h.safetensors: Hessians, of down_proj zeros, or not positive definite
use strict;
use warnings;

my ($dir, @kinds) = @ARGV;
my %is = map { $_ => 1 } @kinds;
my ($hidden, $inner, $kv, $vocab) = (32, 64, 16, 48);
my $state = 1;

sub weight {
  my $sum = 0;
  for (1 .. 4) {
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    $sum += $state / 0x80000000 - 0.5;
  }
  return $sum * ($is{tiny} ? 1e-30 : 0.035);
}

# write_file NAME, [TENSOR, TYPE, BYTES, DIMS...]...
sub write_file {
  my ($file, @tensors) = @_;
  my ($data, @entries) = ('');
  push @entries, '"__metadata__":null' if $is{null};
  for (@tensors) {
    my ($name, $type, $bytes, @dims) = @$_;
    my ($begin, $end) = (length $data, length($data) + length $bytes);
    $data .= $bytes;
    push @entries, sprintf('"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]%s}', $name, $type,
      join(',', @dims), $begin, $end, $is{extra} ? ',"note":1' : '');
  }
  my $head = '{' . join(',', @entries) . '}';
  $head .= ' ' x (-length($head) % 8);
  open my $f, '>:raw', "$dir/$file" or die "$dir/$file: $!";
  print $f pack('Q<', length $head), $head, $data;
  close $f or die "$dir/$file: $!";
}

sub f32 {
  my ($name, @dims) = @_;
  my $n = 1;
  $n *= $_ for @dims;
  return [$name, 'F32', pack('f<*', map { @dims == 1 ? 1 : weight() } 1 .. $n), @dims];
}

my %linear = ('self_attn.q_proj' => [$hidden, $hidden], 'self_attn.k_proj' => [$kv, $hidden],
  'self_attn.v_proj' => [$kv, $hidden], 'self_attn.o_proj' => [$hidden, $hidden],
  'mlp.gate_proj' => [$inner, $hidden], 'mlp.up_proj' => [$inner, $hidden],
  'mlp.down_proj' => [$hidden, $inner]);
my $model = $is{bare} ? '' : 'model.';
my $block = $model . 'layers.0';
my @tensors = (f32("${model}embed_tokens.weight", $vocab, $hidden), f32("${model}norm.weight", $hidden),
  map { f32("$block.$_.weight", $hidden) } 'input_layernorm', 'post_attention_layernorm');
push @tensors, f32("$block.$_.weight", @{$linear{$_}}) for sort keys %linear;
push @tensors, f32('score.weight', 2, $hidden) if $is{score};
push @tensors, ['visual.scale', 'F8_E8M0', "\x7f" x 8, 8], ['visual.codes', 'F4', "\x21" x 4, 8],
  ['visual.waves', 'C64', "\0" x 16, 2]
  if $is{narrow};
write_file('model.safetensors', @tensors);

if ($is{zero} || $is{odd}) {
  my @hessians;
  for my $name (sort keys %linear) {
    my $n = $linear{$name}[1];
    my @h = (0) x ($n * $n);
    if ($name ne 'mlp.down_proj') {
      $h[$_ * $n + $_] = 1 for 0 .. $n - 1;
    } elsif ($is{odd}) { # 1 on the diagonal, 1.05 beside it in one pair
      $h[$_ * $n + $_] = 1 for 0 .. $n - 1;
      $h[3 * $n + 4] = $h[4 * $n + 3] = 1.05;
    }
    push @hessians, ["$block.$name.hessian", 'F32', pack('f<*', @h), $n, $n];
  }
  write_file('h.safetensors', @hessians);
}

my $class = $is{score} ? 'LlamaForSequenceClassification' : $is{bare} ? 'LlamaModel' : 'LlamaForCausalLM';
open my $c, '>', "$dir/config.json" or die "$dir: $!";
print $c qq({"architectures": ["$class"], "model_type": "llama", "hidden_size": $hidden,
 "intermediate_size": $inner, "num_hidden_layers": 1, "num_attention_heads": 2,
 "num_key_value_heads": 1, "vocab_size": $vocab, "tie_word_embeddings": false,
 "time_step_limit": [0.0, Infinity]});
close $c or die;
