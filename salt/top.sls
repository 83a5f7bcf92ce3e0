base:
  'web*':
    - globoapp
