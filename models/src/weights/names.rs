//! Names of Whisper's tensors. Hugging Face's are used throughout; OpenAI's, which whisper.cpp has too, are turned into
//! them.

/// The name that Hugging Face gives a tensor, from any of the names in use: its own, with or without `model.`, or
/// OpenAI's. A name of no Whisper tensor is `None`.
pub fn canonical(name: &str) -> Option<String> {
    // What torch.compile and DataParallel put in front.
    let name = name.strip_prefix("_orig_mod.").unwrap_or(name);
    let name = name.strip_prefix("module.").unwrap_or(name);
    if name == "proj_out.weight" {
        return Some(name.to_owned());
    }
    let name = name.strip_prefix("model.").unwrap_or(name);
    let (side, rest) = name.split_once('.').filter(|(side, _)| matches!(*side, "encoder" | "decoder"))?;
    let openai = |rest: &str| -> Option<String> {
        Some(match rest {
            "positional_embedding" => "embed_positions.weight".to_owned(),
            "token_embedding.weight" => "embed_tokens.weight".to_owned(),
            "ln_post.weight" | "ln.weight" => "layer_norm.weight".to_owned(),
            "ln_post.bias" | "ln.bias" => "layer_norm.bias".to_owned(),
            _ => {
                let (layer, part) = rest.strip_prefix("blocks.")?.split_once('.')?;
                format!("layers.{layer}.{}", openai_part(part)?)
            }
        })
    };
    let rest = openai(rest).unwrap_or_else(|| rest.to_owned());
    Some(format!("model.{side}.{rest}"))
}

/// `attn.query.weight` → `self_attn.q_proj.weight`.
fn openai_part(part: &str) -> Option<String> {
    let (module, parameter) = part.rsplit_once('.')?;
    let module = match module {
        "attn_ln" => "self_attn_layer_norm".to_owned(),
        "cross_attn_ln" => "encoder_attn_layer_norm".to_owned(),
        "mlp_ln" => "final_layer_norm".to_owned(),
        "mlp.0" => "fc1".to_owned(),
        "mlp.2" => "fc2".to_owned(),
        _ => {
            let (attention, projection) = module.split_once('.')?;
            let attention = match attention {
                "attn" => "self_attn",
                "cross_attn" => "encoder_attn",
                _ => return None,
            };
            let projection = match projection {
                "query" => "q_proj",
                "key" => "k_proj",
                "value" => "v_proj",
                "out" => "out_proj",
                _ => return None,
            };
            format!("{attention}.{projection}")
        }
    };
    Some(format!("{module}.{parameter}"))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn openai_s_names_become_hugging_face_s() {
        for (openai, hugging_face) in [
            ("encoder.conv1.weight", "model.encoder.conv1.weight"),
            ("encoder.positional_embedding", "model.encoder.embed_positions.weight"),
            ("decoder.token_embedding.weight", "model.decoder.embed_tokens.weight"),
            ("encoder.ln_post.bias", "model.encoder.layer_norm.bias"),
            ("decoder.ln.weight", "model.decoder.layer_norm.weight"),
            ("decoder.blocks.11.cross_attn.key.weight", "model.decoder.layers.11.encoder_attn.k_proj.weight"),
            ("decoder.blocks.0.cross_attn_ln.bias", "model.decoder.layers.0.encoder_attn_layer_norm.bias"),
            ("encoder.blocks.3.mlp.2.bias", "model.encoder.layers.3.fc2.bias"),
        ] {
            assert_eq!(canonical(openai).as_deref(), Some(hugging_face));
            assert_eq!(canonical(hugging_face).as_deref(), Some(hugging_face));
        }
        assert_eq!(canonical("decoder.layers.0.fc1.bias").as_deref(), Some("model.decoder.layers.0.fc1.bias"));
        assert_eq!(canonical("proj_out.weight").as_deref(), Some("proj_out.weight"));
        assert_eq!(canonical("alignment_heads"), None);
    }
}
