-- Encoders: blocks as BERT's, and a few newer ones.

local linear = blocks.linear
local number = blocks.number

-- Embeddings of positions and of kinds of tokens, a norm and a pooler of BERT.
local function bert_once(m)
  local c = m.config
  return 2 * m.hidden + (c.max_position_embeddings or 512) * m.hidden
    + (c.type_vocab_size or 2) * m.hidden + m.hidden * m.hidden + m.hidden
end

local function bert(m)
  local h, f = m.hidden, m.intermediate
  return {
    linear("q", "qkv", "attention.self.query", h, h, true),
    linear("k", "qkv", "attention.self.key", h, h, true),
    linear("v", "qkv", "attention.self.value", h, h, true),
    linear("o", "o", "attention.output.dense", h, h, true),
    linear("up", "up", "intermediate.dense", f, h, true),
    linear("down", "down", "output.dense", h, f, true),
  }
end

family { -- its matrices have biases, its norms too
  types = { "bert" },
  defaults = { heads = 12, vocab = 30522, tied = 1 },
  beside = { "attention.output.LayerNorm", "output.LayerNorm" }, last = false,
  prefix = "encoder.", blocks = "layer", embedding = "embeddings.word_embeddings",
  head = "cls.predictions.decoder",
  block = bert,
  extra = function(m) return 4 * m.hidden end,
  once = bert_once,
  gguf = {
    architecture = "bert",
    model = {
      token_embd = "embeddings.word_embeddings", position_embd = "embeddings.position_embeddings",
      token_types = "embeddings.token_type_embeddings", token_embd_norm = "embeddings.LayerNorm",
    },
    block = {
      attn_q = "attention.self.query", attn_k = "attention.self.key",
      attn_v = "attention.self.value",
      attn_output = "attention.output.dense", attn_output_norm = "attention.output.LayerNorm",
      ffn_up = "intermediate.dense", ffn_down = "output.dense",
      layer_output_norm = "output.LayerNorm",
    },
  },
}
family {
  types = { "roberta", "xlm-roberta", "camembert", "ernie" },
  defaults = { tied = 1 },
  beside = { "attention.output.LayerNorm", "output.LayerNorm" }, last = false,
  prefix = "encoder.", blocks = "layer", embedding = "embeddings.word_embeddings",
  head = "lm_head.decoder",
  block = bert, extra = function(m) return 4 * m.hidden end, once = bert_once,
}
family {
  types = { "new" }, -- GTE; thirds, and up before gate (class NewModel of its modeling.py)
  defaults = { tied = 1 },
  beside = { "attn_ln", "mlp_ln" }, last = false,
  prefix = "encoder.", blocks = "layer", embedding = "embeddings.word_embeddings",
  head = "lm_head.decoder",
  block = function(m)
    local h, f = m.hidden, m.intermediate
    return {
      blocks.qkv(linear("qkv", "qkv", "attention.qkv_proj", 3 * h, h, true), m,
                 { kv_heads = m.heads }),
      linear("o", "o", "attention.o_proj", h, h, true),
      blocks.gate_up(linear("gate_up", "up-gate", "mlp.up_gate_proj", 2 * f, h),
                     { up_first = true }),
      linear("down", "down", "mlp.down_proj", h, f, true),
    }
  end,
  extra = function(m) return 4 * m.hidden end,
  once = function(m)
    return 2 * m.hidden + number(m.config.type_vocab_size, 0) * m.hidden
  end,
}
family {
  types = { "modernbert" },
  defaults = { tied = 1 },
  beside = { "mlp_norm", { of = "later", "attn_norm" } },
  last = "final_norm",
  prefix = "model.", embedding = "model.embeddings.tok_embeddings", head = "decoder",
  block = function(m)
    local h, f = m.hidden, m.intermediate
    return {
      blocks.qkv(linear("qkv", "qkv", "attn.Wqkv", 3 * h, h), m, { kv_heads = m.heads }),
      linear("o", "o", "attn.Wo", h, h),
      blocks.gate_up(linear("gate_up", "up-gate", "mlp.Wi", 2 * f, h)),
      linear("down", "down", "mlp.Wo", h, f),
    }
  end,
  extra = function(m) return 2 * m.hidden end,
  once = function(m) return 2 * m.hidden + m.hidden * m.hidden end,
}
family {
  types = { "distilbert" },
  names = { hidden = "dim", heads = "n_heads", layers = "n_layers", intermediate = "hidden_dim" },
  defaults = { tied = 1 },
  beside = { "sa_layer_norm", "output_layer_norm" }, last = false,
  prefix = "transformer.", blocks = "layer", embedding = "embeddings.word_embeddings",
  head = "vocab_projector",
  block = function(m)
    local h, f = m.hidden, m.intermediate
    return {
      linear("q", "qkv", "attention.q_lin", h, h, true),
      linear("k", "qkv", "attention.k_lin", h, h, true),
      linear("v", "qkv", "attention.v_lin", h, h, true),
      linear("o", "o", "attention.out_lin", h, h, true),
      linear("up", "up", "ffn.lin1", f, h, true), linear("down", "down", "ffn.lin2", h, f, true),
    }
  end,
  extra = function(m) return 4 * m.hidden end,
  once = function(m)
    return 2 * m.hidden + number(m.config.max_position_embeddings, 512) * m.hidden
  end,
}
family {
  types = { "nomic_bert" },
  names = { hidden = "n_embd", heads = "n_head", layers = "n_layer", intermediate = "n_inner" },
  defaults = { tied = 1 },
  beside = { "norm1", "norm2" }, last = false,
  prefix = "encoder.", embedding = "embeddings.word_embeddings", head = "cls.predictions.decoder",
  block = function(m)
    local h, f = m.hidden, m.intermediate
    return {
      blocks.qkv(linear("qkv", "qkv", "attn.Wqkv", 3 * h, h), m, { kv_heads = m.heads }),
      linear("o", "o", "attn.out_proj", h, h),
      linear("up", "up-gate", "mlp.fc11", f, h), linear("gate", "up-gate", "mlp.fc12", f, h),
      linear("down", "down", "mlp.fc2", h, f),
    }
  end,
  extra = function(m) return 4 * m.hidden end,
  once = function(m) return 2 * m.hidden + 2 * m.hidden end,
}
