"""The tabs of the page, in their order. A new one is a module with a TAB, and a place here."""

from minigpt.ui import chat, compare, tokens, write
from minigpt.ui.desk import Tab

TABS: tuple[Tab, ...] = (write.TAB, chat.TAB, compare.TAB, tokens.TAB)
