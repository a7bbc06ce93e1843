package dialect

// refusedTypes are the peft_type values of PEFT 0.21 and before that are not
// LORA, with the way out.
var refusedTypes = func() map[string]string {
	const (
		dense  = "convert it with PEFT's convert_to_lora, or merge it with PEFT"
		prompt = "it has no delta to merge; keep it unmerged"
		merge  = "merge it with PEFT"
	)
	types := map[string]string{
		"ADALORA": "save it with PEFT as a plain LoRA, or merge it with PEFT",
		"BONE":    `rename ".bone_" to ".miss_" and use PEFT's convert_to_lora`,
		"XLORA":   "merge the adapters it mixes one by one",
	}
	for hint, names := range map[string][]string{
		prompt: {"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE", "ADAPTION_PROMPT"},
		dense:  {"LOHA", "LOKR", "VERA", "VBLORA", "UNILORA", "MISS", "RANDLORA", "C3A", "TINYLORA", "PSOFT", "FOURIERFT"},
		merge: {"ADAMSS", "BOFT", "IA3", "BEFT", "LILY", "OFT", "POLY", "LN_TUNING", "FROD", "PVERA", "GLORA", "HRA", "ROAD",
			"TRAINABLE_TOKENS", "HIRA", "SHIRA", "WAVEFT", "OSF", "DELORA", "GRALORA", "PEANUT", "SUPERTUNING", "DEFT", "MIXED"},
	} {
		for _, name := range names {
			types[name] = hint
		}
	}
	return types
}()
