"""One module a stage of dvc.yaml. Imported first of all: a stage ends when DVC does."""

from minigpt.log import prepare_streams
from minigpt.parent import die_with_parent, end_when_asked
from minigpt.process import quiet_environment

end_when_asked()
prepare_streams()
quiet_environment()
die_with_parent()
