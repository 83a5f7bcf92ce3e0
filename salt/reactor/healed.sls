# globoapp/heal/<id>: what came of an attempt to heal.
note what came of healing:
  runner.globoapp_watch.healed:
    - args:
        minion: {{ data['id'] | json }}
        data: {{ data['data'] | json }}
