#!/usr/bin/env bash
# Runs the book's Slurm scripts (book/src/guide/clusters.md) on a cluster of one node that it starts on this machine: features
# and a comparison by arrays, of which one job is requeued on its way; with a program that was built with the feature `mpi`,
# also training by two processes, which Slurm asks to stop on their way. Everything must be as one process makes it.
#
#   scripts/slurm_trial.sh [PROGRAM]
#
# Needs root, `retune` and `python3` with NumPy and Pillow on the path, and Slurm and MUNGE (apt-get install slurm-wlm munge).
# It leaves other clusters of the machine alone: ports, keys, and state are its own.
set -euo pipefail

if [ "$(id -u)" != 0 ] || ! command -v slurmctld slurmd munged retune >/dev/null; then
    echo "needs root and: apt-get install slurm-wlm munge; pip install ." >&2
    exit 1
fi
program=${1:+$(realpath "$1")}
work=$(mktemp -d)
chmod 755 "$work"
cd "$work"
started=()
cleanup() {
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap cleanup EXIT

# A node with two processors more than there are, so that jobs of an array overlap on a small machine.
cpus=$(($(nproc) + 2))
mkdir munge state spool
dd if=/dev/urandom of=munge/key bs=1024 count=1 status=none
chmod 700 munge munge/key
cat > slurm.conf <<EOF
ClusterName=trial
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=pmix
ReturnToService=2
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmdParameters=config_overrides
MinJobAge=600
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=trial Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
# slurmd wants to know which kind of control groups the machine has, though nothing here uses any.
[ -f /sys/fs/cgroup/cgroup.controllers ] && groups="cgroup/v2" || groups="cgroup/v1"
printf 'CgroupPlugin=%s\nIgnoreSystemd=yes\n' "$groups" > cgroup.conf
export SLURM_CONF=$work/slurm.conf
munged --foreground --force --key-file=munge/key --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
    --seed-file="$work/munge/seed" --log-file="$work/munge/log" &
started+=($!)
sleep 1
slurmctld -D 2>controller.txt &
started+=($!)
slurmd -D 2>node.txt &
started+=($!)
for _ in $(seq 60); do
    sinfo --noheader --format %t 2>/dev/null | grep -q idle && break
    sleep 1
done
sinfo || { tail -n 20 munge/log controller.txt node.txt slurmctld.log slurmd.log >&2; exit 1; }

# Waits for all jobs, and ends if one has failed.
wait_for_jobs() {
    while [ -n "$(squeue --noheader)" ]; do sleep 1; done
    if scontrol --oneliner show jobs | grep -v "JobState=COMPLETED"; then
        tail -n 5 slurm-*.out >&2
        exit 1
    fi
}

python3 - <<'EOF'
import numpy
from pathlib import Path
from PIL import Image

draws = numpy.random.default_rng(0)
for folder in ("images", "other_images"):
    for name, channel in (("green", 1), ("red", 0)):
        place = Path(folder, name)
        place.mkdir(parents=True)
        for number in range(60):
            image = draws.integers(0, 90, (32, 32, 3), dtype=numpy.uint8)
            image[..., channel] += 60
            Image.fromarray(image).save(place / f"{number:03}.png")
EOF
python3 -c "import retune; retune.demo.backbone('M')"

# Features by an array.
cat > features.sbatch <<'EOF'
#!/bin/bash
#SBATCH --job-name=features
#SBATCH --array=1-8
#SBATCH --cpus-per-task=1
#SBATCH --requeue
retune features --model M --data images --batch-size 8 --quiet --threads "$SLURM_CPUS_PER_TASK" \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --out "part-$SLURM_ARRAY_TASK_ID.npz"
EOF
array=$(sbatch --parsable features.sbatch)
sbatch --dependency="afterok:$array" --wrap "retune merge-features part-*.npz --out features.npz --quiet" >/dev/null
wait_for_jobs
retune features --model M --data images --batch-size 8 --out alone.npz --quiet
cmp features.npz alone.npz && echo "features: the same bytes"

# A comparison by an array, one of whose jobs is requeued: it is killed, and goes on from its checkpoint.
cat > compare.sbatch <<'EOF'
#!/bin/bash
#SBATCH --job-name=compare
#SBATCH --array=1-6
#SBATCH --cpus-per-task=1
#SBATCH --requeue
retune compare --model M --data images --eval deployed=other_images --methods lp,ft,lp-ft --seeds 2 --epochs 6 \
    --lr 1e-3 --checkpoint-every 1 --no-report --quiet \
    --threads "$SLURM_CPUS_PER_TASK" --out comparison --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
EOF
array=$(sbatch --parsable compare.sbatch)
sbatch --dependency="afterok:$array" --wrap "retune compare --resume comparison --quiet --no-report" >/dev/null
until compgen -G "comparison/runs/ft/*/checkpoint" >/dev/null; do sleep 0.05; done
running=$(squeue --noheader --array --states RUNNING --name compare --format %i | tail -n 1)
scontrol requeue "$running" && echo "requeued $running"
wait_for_jobs
retune compare --model M --data images --eval deployed=other_images --methods lp,ft,lp-ft --seeds 2 --epochs 6 \
    --lr 1e-3 --no-report --quiet --out alone >/dev/null
for run in alone/runs/*/*; do
    cmp "$run/model/model.safetensors" "comparison/${run#alone/}/model/model.safetensors"
done
without_times() { python3 -c '
import json, sys
def plain(value):
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items() if "seconds" not in key}
    return [plain(part) for part in value] if isinstance(value, list) else value
print(json.dumps(plain(json.load(open(sys.argv[1]))), sort_keys=True))' "$1"; }
diff <(without_times alone/comparison.json) <(without_times comparison/comparison.json)
echo "comparison: the same tables and weights"

# Training by two processes.
[ -n "$program" ] || exit 0
cat > fit.sbatch <<EOF
#!/bin/bash
#SBATCH --job-name=fit
#SBATCH --ntasks=2
#SBATCH --cpus-per-task=1
if [ -d run/checkpoint ]; then
    srun "$program" fit --resume run --verbose --threads "\$SLURM_CPUS_PER_TASK"
else
    srun "$program" fit --model M --data images --method ft --lr 1e-3 --epochs 12 --batch-size 8 --accumulate 2 \
        --checkpoint-every 1 --verbose --threads "\$SLURM_CPUS_PER_TASK" --out run
fi
EOF
job=$(sbatch --parsable fit.sbatch)
until [ -d run/checkpoint ]; do sleep 0.05; done
scancel --signal TERM "$job"
while [ -n "$(squeue --noheader)" ]; do sleep 1; done
[ ! -e run/summary.json ] && echo "job $job stopped with a checkpoint"
job=$(sbatch --parsable fit.sbatch)
while [ -n "$(squeue --noheader)" ]; do sleep 1; done
grep "exchange between processes" "slurm-$job.out"
retune fit --model M --data images --method ft --lr 1e-3 --epochs 12 --batch-size 8 --accumulate 2 --quiet --out whole
cmp run/model/model.safetensors whole/model/model.safetensors && echo "training by two processes: the same weights"
