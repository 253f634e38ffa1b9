-- Llama 2 and 3: hidden, intermediate, heads, kv_heads, head_dim, layers, vocab of each config.json.

return {
  { name = "llama-2-7b", hidden = 4096, intermediate = 11008, heads = 32, kv_heads = 32, head_dim = 128, layers = 32, vocab = 32000 },
  { name = "llama-2-13b", hidden = 5120, intermediate = 13824, heads = 40, kv_heads = 40, head_dim = 128, layers = 40, vocab = 32000 },
  { name = "llama-3.1-8b", hidden = 4096, intermediate = 14336, heads = 32, kv_heads = 8, head_dim = 128, layers = 32, vocab = 128256 },
  { name = "llama-3.1-70b", hidden = 8192, intermediate = 28672, heads = 64, kv_heads = 8, head_dim = 128, layers = 80, vocab = 128256 },
  { name = "llama-3.2-1b", hidden = 2048, intermediate = 8192, heads = 32, kv_heads = 8, head_dim = 64, layers = 16, vocab = 128256 },
  { name = "llama-3.2-3b", hidden = 3072, intermediate = 8192, heads = 24, kv_heads = 8, head_dim = 128, layers = 28, vocab = 128256 },
}
