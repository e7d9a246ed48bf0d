//! This program's part in the composition of its configuration.

use super::additions;
use crate::hydra::{HydraProgram, Synonyms};

/// The program as the Hydra module sees it.
pub(super) const PROGRAM: HydraProgram = HydraProgram {
    hydra_section: HYDRA,
    edit: additions::edit,
    choice_hint: |_, _, _| None,
    synonyms: SYNONYMS,
    hydra_group_hint: "a launcher starts the program: `mpirun -n 4 regun ...`, or `srun --mpi=pmix regun ...` in a Slurm \
                       job; a sweep is a loop of the shell over runs; of Hydra's section hydra.run.dir, hydra.job.name \
                       and hydra.searchpath have an effect",
};

/// Names in other programs for keys and groups of this one.
const SYNONYMS: Synonyms = &[
    ("arch", "model"),
    ("architecture", "model"),
    ("bs", "batch_size"),
    ("clip_grad_norm", "gradient_clip_val"),
    ("data_path", "data_dir"),
    ("data_root", "data_dir"),
    ("dataset", "data"),
    ("device", "accelerator"),
    ("epoch", "max_epochs"),
    ("epochs", "max_epochs"),
    ("forget_class", "forget_classes"),
    ("forget_fraction", "forget_frac"),
    ("forget_ratio", "forget_frac"),
    ("gpus", "devices"),
    ("grad_clip", "gradient_clip_val"),
    ("gradient_accumulation_steps", "accumulate_grad_batches"),
    ("learning_rate", "lr"),
    ("method", "unlearn"),
    ("n_epochs", "max_epochs"),
    ("network", "model"),
    ("num_epochs", "max_epochs"),
    ("num_gpus", "devices"),
    ("output_dir", "outputs_dir"),
    ("ngpus", "devices"),
    ("root", "data_dir"),
    ("subset", "debug_subset_size"),
    ("unlearning_method", "unlearn"),
    ("wd", "weight_decay"),
    ("workers", "num_workers"),
];

/// Hydra's own section: Hydra's defaults, and the run folder of the Python program.
const HYDRA: &str = "
run:
  dir: ${oc.env:OUTPUTS_DIR,outputs}/${now:%Y-%m-%d}/${now:%H-%M-%S}
sweep:
  dir: multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}
  subdir: ${hydra:job.num}
job:
  name: regun
  num: 0
  chdir: false
  override_dirname: ''
  config_name: config
runtime:
  cwd: .
  output_dir: ${hydra:run.dir}
  choices: {}
output_subdir: .hydra
verbose: false
searchpath: []
";
