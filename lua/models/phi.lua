-- Phi-3 and 4: sizes of each config.json.

return {
  { name = "phi-3-mini", type = "phi3", layers = 32, hidden = 3072, intermediate = 8192,
    heads = 32, kv_heads = 32, head_dim = 96, vocab = 32064 },
  { name = "phi-3-medium", type = "phi3", layers = 40, hidden = 5120, intermediate = 17920,
    heads = 40, kv_heads = 10, head_dim = 128, vocab = 32064 },
  { name = "phi-3.5-mini", type = "phi3", layers = 32, hidden = 3072, intermediate = 8192,
    heads = 32, kv_heads = 32, head_dim = 96, vocab = 32064 },
  { name = "phi-4", type = "phi3", layers = 40, hidden = 5120, intermediate = 17920,
    heads = 40, kv_heads = 10, head_dim = 128, vocab = 100352 },
  { name = "phi-4-mini", type = "phi3", layers = 32, hidden = 3072, intermediate = 8192,
    heads = 24, kv_heads = 8, head_dim = 128, vocab = 200064, tied = true },
}
