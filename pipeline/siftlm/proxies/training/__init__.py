"""Trains small causal language models: one loop for every command that needs some."""

from siftlm.proxies.training.job import SHARES as SHARES
from siftlm.proxies.training.job import STEPS as STEPS
from siftlm.proxies.training.job import Job as Job
from siftlm.proxies.training.job import Progress as Progress
from siftlm.proxies.training.job import Trained as Trained
from siftlm.proxies.training.marks import MARKS as MARKS
from siftlm.proxies.training.marks import Evaluation as Evaluation
from siftlm.proxies.training.marks import group_bits_per_byte as group_bits_per_byte
from siftlm.proxies.training.marks import last_sums as last_sums
from siftlm.proxies.training.mixer import GroupShares as GroupShares
from siftlm.proxies.training.mixer import ModelView as ModelView
from siftlm.proxies.training.mixer import Observation as Observation
from siftlm.proxies.training.mixer import OnlineMixer as OnlineMixer
from siftlm.proxies.training.saved import SavedWeights as SavedWeights
from siftlm.proxies.training.settings import ModelShape as ModelShape
from siftlm.proxies.training.settings import Optimisation as Optimisation
from siftlm.proxies.training.settings import Seeds as Seeds
from siftlm.proxies.training.settings import Training as Training
from siftlm.proxies.training.tokenizer import DocumentTokenizer as DocumentTokenizer
from siftlm.proxies.training.tokenizer import open_tokenizer as open_tokenizer
from siftlm.proxies.training.tokenizer import train_tokenizer as train_tokenizer
from siftlm.proxies.training.tokens import TextOfGroup as TextOfGroup
from siftlm.proxies.training.tokens import TokenFile as TokenFile
from siftlm.proxies.training.tokens import write_tokens as write_tokens
from siftlm.proxies.training.train import train as train
from siftlm.proxies.training.train import train_into as train_into
