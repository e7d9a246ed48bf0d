//! This program's part in the composition of its configuration.

use super::additions;
use crate::hydra::HydraProgram;

/// The program as the Hydra module sees it.
pub(super) const PROGRAM: HydraProgram = HydraProgram {
    hydra_section: HYDRA,
    edit: additions::edit,
    launcher_hint: "jobs are sent to SLURM with the scripts in slurm/",
};

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
