#!/usr/bin/env perl
# SPDX-License-Identifier: MIT
# gguf.pl FILE [ARCHITECTURE [VOCABULARY]]: a llama, or what has its tensors, of one tiny block
# whose linears are made-up Q4_0 blocks.
use strict;
use warnings;

my ($path, $name, $vocab) = ($ARGV[0], $ARGV[1] // 'llama', $ARGV[2] // 64);
my ($hidden, $inner, $kv) = (64, 128, 32);
my ($state, $at, $data) = (1, 0, '');
my @infos;

sub random { return ($state = ($state * 1103515245 + 12345) & 0x7fffffff) >> 16 }
sub text { return pack 'Q<a*', length $_[0], $_[0] }
sub number { return text($_[0]) . pack 'L<L<', 4, $_[1] }

# add NAME, TYPE, BYTES, DIMS...: the fastest dimension first.
sub add {
  my ($name, $type, $bytes, @dims) = @_;
  push @infos, text($name) . pack 'L<Q<*', scalar @dims, @dims;
  $infos[-1] .= pack 'L<Q<', $type, $at;
  $data .= $bytes . "\0" x (-length($bytes) % 32);
  $at = length $data;
}

# Rows of Q4_0: a scale in fp16, 32 codes.
sub linear {
  my ($name, $rows, $columns) = @_;
  my $bytes = '';
  for (1 .. $rows * $columns / 32) {
    $bytes .= pack 'S<C16', 0x2400 + random() % 256, map { random() % 256 } 1 .. 16;
  }
  add("$name.weight", 2, $bytes, $columns, $rows);
}

sub ones { my ($name, $n) = @_; add("$name.weight", 0, pack('f<*', (1) x $n), $n) }

add('token_embd.weight', 0, pack('f<*', map { random() / 65536 } 1 .. $vocab * $hidden),
  $hidden, $vocab);
ones('output_norm', $hidden);
ones("blk.0.$_", $hidden) for qw(attn_norm ffn_norm);
linear("blk.0.$_->[0]", @$_[1, 2])
  for ['attn_q', $hidden, $hidden], ['attn_k', $kv, $hidden], ['attn_v', $kv, $hidden],
  ['attn_output', $hidden, $hidden], ['ffn_up', $inner, $hidden], ['ffn_gate', $inner, $hidden],
  ['ffn_down', $hidden, $inner];

my @fields = (
  text('general.architecture') . pack('L<', 8) . text($name),
  number("$name.embedding_length", $hidden), number("$name.feed_forward_length", $inner),
  number("$name.block_count", 1), number("$name.attention.head_count", 2),
  number("$name.attention.head_count_kv", 1),
  text("$name.attention.layer_norm_rms_epsilon") . pack('L<f<', 6, 1e-5));
my $head = 'GGUF' . pack('L<Q<Q<', 3, scalar @infos, scalar @fields) . join('', @fields, @infos);
open my $file, '>:raw', $path or die "$path: $!";
print $file $head, "\0" x (-length($head) % 32), $data;
close $file or die "$path: $!";
