-- Gemma 2 and 3 (text): sizes of each config.json.

return {
  { name = "gemma-2-2b", type = "gemma2", hidden = 2304, intermediate = 9216, heads = 8, kv_heads = 4, head_dim = 256, layers = 26, vocab = 256000, tied = true },
  { name = "gemma-2-9b", type = "gemma2", hidden = 3584, intermediate = 14336, heads = 16, kv_heads = 8, head_dim = 256, layers = 42, vocab = 256000, tied = true },
  { name = "gemma-2-27b", type = "gemma2", hidden = 4608, intermediate = 36864, heads = 32, kv_heads = 16, head_dim = 128, layers = 46, vocab = 256000, tied = true },
  { name = "gemma-3-1b", type = "gemma3_text", hidden = 1152, intermediate = 6912, heads = 4, kv_heads = 1, head_dim = 256, layers = 26, vocab = 262144, tied = true },
  { name = "gemma-3-4b", type = "gemma3", hidden = 2560, intermediate = 10240, heads = 8, kv_heads = 4, head_dim = 256, layers = 34, vocab = 262208, tied = true },
  { name = "gemma-3-12b", type = "gemma3", hidden = 3840, intermediate = 15360, heads = 16, kv_heads = 8, head_dim = 256, layers = 48, vocab = 262208, tied = true },
  { name = "gemma-3-27b", type = "gemma3", hidden = 5376, intermediate = 21504, heads = 32, kv_heads = 16, head_dim = 128, layers = 62, vocab = 262208, tied = true },
}
