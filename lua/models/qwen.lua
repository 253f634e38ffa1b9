-- Qwen 2.5 and 3: sizes of each config.json.

return {
  { name = "qwen2.5-0.5b", type = "qwen2", hidden = 896, intermediate = 4864, heads = 14, kv_heads = 2, head_dim = 64, layers = 24, vocab = 151936, tied = true },
  { name = "qwen2.5-1.5b", type = "qwen2", hidden = 1536, intermediate = 8960, heads = 12, kv_heads = 2, head_dim = 128, layers = 28, vocab = 151936, tied = true },
  { name = "qwen2.5-3b", type = "qwen2", hidden = 2048, intermediate = 11008, heads = 16, kv_heads = 2, head_dim = 128, layers = 36, vocab = 151936, tied = true },
  { name = "qwen2.5-7b", type = "qwen2", hidden = 3584, intermediate = 18944, heads = 28, kv_heads = 4, head_dim = 128, layers = 28, vocab = 152064 },
  { name = "qwen2.5-14b", type = "qwen2", hidden = 5120, intermediate = 13824, heads = 40, kv_heads = 8, head_dim = 128, layers = 48, vocab = 152064 },
  { name = "qwen2.5-32b", type = "qwen2", hidden = 5120, intermediate = 27648, heads = 40, kv_heads = 8, head_dim = 128, layers = 64, vocab = 152064 },
  { name = "qwen2.5-72b", type = "qwen2", hidden = 8192, intermediate = 29568, heads = 64, kv_heads = 8, head_dim = 128, layers = 80, vocab = 152064 },
  { name = "qwen3-0.6b", type = "qwen3", hidden = 1024, intermediate = 3072, heads = 16, kv_heads = 8, head_dim = 128, layers = 28, vocab = 151936, tied = true },
  { name = "qwen3-1.7b", type = "qwen3", hidden = 2048, intermediate = 6144, heads = 16, kv_heads = 8, head_dim = 128, layers = 28, vocab = 151936, tied = true },
  { name = "qwen3-4b", type = "qwen3", hidden = 2560, intermediate = 9728, heads = 32, kv_heads = 8, head_dim = 128, layers = 36, vocab = 151936, tied = true },
  { name = "qwen3-8b", type = "qwen3", hidden = 4096, intermediate = 12288, heads = 32, kv_heads = 8, head_dim = 128, layers = 36, vocab = 151936 },
  { name = "qwen3-14b", type = "qwen3", hidden = 5120, intermediate = 17408, heads = 40, kv_heads = 8, head_dim = 128, layers = 40, vocab = 151936 },
  { name = "qwen3-32b", type = "qwen3", hidden = 5120, intermediate = 25600, heads = 64, kv_heads = 8, head_dim = 128, layers = 64, vocab = 151936 },
}
