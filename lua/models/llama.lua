-- Llama 2 and 3: sizes of each config.json.

return {
  { name = "llama-2-7b", type = "llama", hidden = 4096, intermediate = 11008, heads = 32, kv_heads = 32, head_dim = 128, layers = 32, vocab = 32000 },
  { name = "llama-2-13b", type = "llama", hidden = 5120, intermediate = 13824, heads = 40, kv_heads = 40, head_dim = 128, layers = 40, vocab = 32000 },
  { name = "llama-2-70b", type = "llama", hidden = 8192, intermediate = 28672, heads = 64, kv_heads = 8, head_dim = 128, layers = 80, vocab = 32000 },
  { name = "llama-3-8b", type = "llama", hidden = 4096, intermediate = 14336, heads = 32, kv_heads = 8, head_dim = 128, layers = 32, vocab = 128256 },
  { name = "llama-3-70b", type = "llama", hidden = 8192, intermediate = 28672, heads = 64, kv_heads = 8, head_dim = 128, layers = 80, vocab = 128256 },
  { name = "llama-3.1-8b", type = "llama", hidden = 4096, intermediate = 14336, heads = 32, kv_heads = 8, head_dim = 128, layers = 32, vocab = 128256 },
  { name = "llama-3.1-70b", type = "llama", hidden = 8192, intermediate = 28672, heads = 64, kv_heads = 8, head_dim = 128, layers = 80, vocab = 128256 },
  { name = "llama-3.1-405b", type = "llama", hidden = 16384, intermediate = 53248, heads = 128, kv_heads = 8, head_dim = 128, layers = 126, vocab = 128256 },
  { name = "llama-3.2-1b", type = "llama", hidden = 2048, intermediate = 8192, heads = 32, kv_heads = 8, head_dim = 64, layers = 16, vocab = 128256, tied = true },
  { name = "llama-3.2-3b", type = "llama", hidden = 3072, intermediate = 8192, heads = 24, kv_heads = 8, head_dim = 128, layers = 28, vocab = 128256, tied = true },
  { name = "llama-3.3-70b", type = "llama", hidden = 8192, intermediate = 28672, heads = 64, kv_heads = 8, head_dim = 128, layers = 80, vocab = 128256 },
}
